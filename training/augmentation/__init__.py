"""Changes training pictures at random, and makes pictures that are not digits."""
