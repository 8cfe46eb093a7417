"""Model folders, networks, engines, and the scheduling of their work."""
