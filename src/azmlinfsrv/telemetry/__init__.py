"""Telemetry: what the server tells of itself and of its requests."""
