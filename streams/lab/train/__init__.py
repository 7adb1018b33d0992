"""Training: logs and labels to samples, fits, reports and versions. The worker never imports it."""
