"""The comparison of this server with others: the same work on each, in turns, in one run."""
