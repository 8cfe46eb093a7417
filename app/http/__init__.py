"""The HTTP API: middleware, routes, and what turns requests into values and values into responses."""
