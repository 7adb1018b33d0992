"""Why an alert was sent, whether it can be made again from the log, and why an account has none."""
