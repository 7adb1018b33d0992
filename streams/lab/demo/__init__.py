"""The demo: a broker, a worker and a scenario on this machine, and how well the worker did; never for production."""
