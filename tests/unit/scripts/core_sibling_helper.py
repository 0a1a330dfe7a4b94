"""A module beside the entry script."""

SIZE = 3
