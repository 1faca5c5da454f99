"""How weights start."""
