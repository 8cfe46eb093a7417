"""Tests of app/recognition."""
