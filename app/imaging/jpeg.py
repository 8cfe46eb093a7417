"""Counts the scans of a JPEG before a decoder sees it."""

import re

# The markers at which libjpeg stops. In a scan, it passes over the others: 00 stands for a byte FF, and D0 to D7 are
# restarts.
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = b"\xd8", b"\xd9", b"\xda"


def count_scans(data: bytes, limit: int) -> int:
    """Count the scans up to the end of the picture, or up to ``limit``. Nothing is decoded.

    What follows the picture does not count: phones append videos, and a video has the bytes of many markers. Neither
    does what is inside a segment, such as a preview.
    """
    scans, place = 0, 0
    while scans < limit and (found := MARKER.search(data, place)):
        if found[1] == END_OF_IMAGE:
            break
        place = found.end()
        if found[1] != START_OF_IMAGE:
            place += int.from_bytes(data[place : place + 2])
        scans += found[1] == START_OF_SCAN
    return scans
