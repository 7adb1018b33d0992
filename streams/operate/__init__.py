"""What operators run: topics and access rights, checks of a deployment, provisioning of Grafana and Prometheus."""
