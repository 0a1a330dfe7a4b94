"""What leaves the server besides answers; each kind is imported only where it is switched on."""
