"""The commands of ``digitserve``."""
