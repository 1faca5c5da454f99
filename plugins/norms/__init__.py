"""How rows are normalised."""
