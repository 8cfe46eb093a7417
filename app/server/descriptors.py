"""File descriptors: each connection needs one, and without any left the service answers nobody."""

import logging
import resource

logger = logging.getLogger(__name__)

RESERVED = 192  # descriptors for health checks, files, threads and sockets of the process itself


def limit_connections(wanted: int) -> int:
    """Raise the soft limit of descriptors as far as ``wanted`` connections need. Return how many fit."""
    needed = wanted + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < needed:
            logger.warning(
                "At most %d connections, not DIGITS_MAX_CONNECTIONS=%d: the hard limit of file descriptors is %d. "
                "Raise it with ulimit -n, LimitNOFILE (systemd) or --ulimit nofile (docker).",
                max(1, soft - RESERVED),
                wanted,
                hard,
            )
            return max(1, soft - RESERVED)
    return wanted
