"""Performance measurements of the service. Each module is a command; none is a test."""
