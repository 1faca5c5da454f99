"""Certificates of a composed model."""
