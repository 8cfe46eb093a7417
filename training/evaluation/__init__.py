"""Measures models, and describes them in a model card."""
