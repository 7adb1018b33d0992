"""The demo: a broker, a worker and a scenario on one machine, and how well the worker detects; not for production."""
