"""Everything that touches uvicorn: connections, timeouts, signals and worker processes."""
