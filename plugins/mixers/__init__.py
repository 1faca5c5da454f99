"""Whole token-mixing sub-layers."""
