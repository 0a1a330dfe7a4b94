"""Telemetry: what the server tells of itself and of its requests; most is imported only where it is switched on."""
