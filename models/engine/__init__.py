"""The scorer of a telemetry partition and the coordinator of a sightings partition, as workers and replay run them."""
