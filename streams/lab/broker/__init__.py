"""Brokers that the demo, the tests and the benchmark start for themselves, on loopback only; never for production."""
