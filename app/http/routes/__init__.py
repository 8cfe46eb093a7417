"""The paths of the service. Each handler is a thin function."""
