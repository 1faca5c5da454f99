"""Data, loss and metric."""
