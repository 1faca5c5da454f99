"""Compose efficient-Transformer mechanisms into one checked model, from one YAML file."""
