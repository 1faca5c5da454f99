"""Like-for-like comparison."""
