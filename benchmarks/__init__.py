"""Measurements of the service, each a command. None of them is a test."""
