"""What the server tells of itself and of its requests: metrics, records of what happened, and where they go.

No optional package is imported before a setting asks for it.
"""
