"""Tests of the container image and of deploy/."""
