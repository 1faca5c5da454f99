"""How sub-layers are added to the stream."""
