"""What stands on the topics: telemetry, alerts, verdicts, sightings, dead letters, and where a record came from."""
