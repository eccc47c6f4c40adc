"""JPEG: what its markers tell before it is decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ilk.errors import DecodeError

MOST_SCANS = 100  # encoders write 10 or so
MOST_SEGMENTS = 10_000  # profiles and previews take some hundreds
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_SEQUENTIAL = {b"\xff\xc0", b"\xff\xc1"}
_FRAMES = {bytes([255, code]) for code in range(0xC0, 0xD0) if code not in {0xC4, 0xC8, 0xCC}}
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # all but restarts and what has no meaning


def refuse_many_scans(data: bytes) -> None:
    """Refuse a JPEG that has thousands of passes over all its pixels: few bytes, and minutes.

    Raises
    ------
    DecodeError
        It has too many scans or segments.
    """
    if not data.startswith(_START) or data.count(_SCAN) <= MOST_SCANS:
        return
    # Metadata, and what a phone puts behind the picture, hold such bytes by chance.
    scans = 0
    for marker in _markers(data):
        scans += marker == _SCAN
        if scans > MOST_SCANS:
            raise DecodeError(f"has more than {MOST_SCANS} scans: save it again", "file.bomb")


def in_one_pass(data: bytes) -> bool:
    """Say whether a JPEG is decoded row by row: others have all coefficients in memory.

    Raises
    ------
    DecodeError
        It has too many segments.
    """
    scans = 0
    for marker in _markers(data):
        scans += marker == _SCAN
        if scans > 1 or (marker in _FRAMES and marker not in _SEQUENTIAL):
            return False
    return True


def _markers(data: bytes) -> Iterator[bytes]:
    """Yield the markers up to the end of a picture; a film may stand behind it.

    Raises
    ------
    DecodeError
        There are too many.
    """
    place = 0
    for _ in range(MOST_SEGMENTS):
        marker = _MARKER.search(data, place)
        if marker is None or marker[0] == _END:
            return
        yield marker[0]
        place = marker.end()
        if marker[0] != _START:
            place += max(2, int.from_bytes(data[place : place + 2]))  # its length comes first
    raise DecodeError(f"has more than {MOST_SEGMENTS:,} segments: save it again", "file.bomb")
