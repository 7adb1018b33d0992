"""What runs inside or beside a gateway: records to telemetry to Kafka, off the request path. No prompt leaves it."""
