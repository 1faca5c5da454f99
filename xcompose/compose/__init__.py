"""From a resolved spec to modules."""
