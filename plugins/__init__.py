"""The built-in plugins; imported as xcompose_plugins, found by scanning."""
