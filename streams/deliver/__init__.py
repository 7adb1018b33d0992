"""Alert sinks: `siphonwatch deliver` reads the alerts topic and sends each alert to the receivers that settings name.

It runs beside the workers and never inside one: a receiver that is slow or away cannot hold up scoring.
"""
