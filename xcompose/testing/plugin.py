"""The pytest plugin: imported by every run of pytest where xcompose is installed, so it imports nothing heavy."""
