"""What the topics hold: telemetry, alerts, verdicts, sightings, dead letters, and where a record came from."""
