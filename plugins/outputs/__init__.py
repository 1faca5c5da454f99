"""From rows to what the task wants."""
