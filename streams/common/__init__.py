"""What every process of siphonwatch shares: settings, connections to Kafka and Grafana, identity, logs, health."""
