"""State and generation."""
