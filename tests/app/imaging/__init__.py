"""Tests of app/imaging."""
