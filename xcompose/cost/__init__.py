"""Parameters, work, memory and state, counted."""
