"""Messages to the person at the terminal."""

import sys


def fail(status: int, reason: str) -> int:
    """Print why a command failed to standard error, and return its exit status."""
    print(f"digitserve: {reason}", file=sys.stderr)
    return status
