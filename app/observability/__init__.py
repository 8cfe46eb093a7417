"""Logs, metrics and traces. Knows nothing of HTTP frameworks."""
