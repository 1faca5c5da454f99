"""From tokens to rows."""
