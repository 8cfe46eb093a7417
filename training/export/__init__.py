"""Turns trained networks into calibrated model folders, and reads networks back from them."""
