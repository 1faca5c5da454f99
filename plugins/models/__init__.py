"""Types of model."""
