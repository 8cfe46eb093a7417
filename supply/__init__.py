"""What the container image is made of: the lock files, their audit, and the image's SBOM."""
