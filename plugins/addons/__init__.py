"""Changes of a built model, or of training."""
