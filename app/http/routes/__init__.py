"""The addresses of the service, each a thin function."""
