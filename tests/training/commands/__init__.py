"""Tests of the training commands, as a person types them."""
