"""Tests of telemetry, with stand-ins that speak the real protocols on the loopback interface."""
