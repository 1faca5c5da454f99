"""Finding plugins, keeping broken ones apart, and the catalogue of components."""
