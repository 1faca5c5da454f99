"""Architecture search over a spec."""
