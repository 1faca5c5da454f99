"""Keys with spans, patterns, tiles, and the executors that run them."""
