"""The released server and this one side by side, on the same scripts, settings and requests."""
