"""Tests of supply/: the lock files, their audit, and the image's SBOM."""
