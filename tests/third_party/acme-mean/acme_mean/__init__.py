"""A memory of mean-pooled blocks."""
