"""Truncation: does a file end before its format says that it should?

Decoders differ in how much of a picture may be missing before they complain, and in their messages;
the end of a container is easy to find.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers that no length follows
_SOS, _EOI = 0xDA, b"\xff\xd9"


def ends_early(data: bytes) -> bool:
    """Say whether a JPEG, PNG, WebP, GIF, AVIF or TIFF was cut off; of other content, False.

    Bytes after the proper end, as phones and editors append them, do not matter.
    """
    for start, test in _TESTS:
        if data.startswith(start):
            try:
                return test(data)
            except (IndexError, struct.error):  # it ended in the middle of a field
                return True
    return data[4:8] == b"ftyp" and _boxes(data)


def _jpeg(data: bytes) -> bool:
    """Search the end marker behind the start of the scan: a thumbnail may have one before it."""
    if data.endswith(_EOI):
        return False
    place = 2
    while data[place + 1] != _SOS:
        if data[place] != 0xFF:
            return False  # no segment: damaged in another way
        alone = data[place + 1] in _JPEG_ALONE
        fill = data[place + 1] == 0xFF
        place += 1 if fill else 2 if alone else 2 + struct.unpack_from(">H", data, place + 2)[0]
    return data.find(_EOI, place) < 0


def _png(data: bytes) -> bool:
    end = data.rfind(b"IEND")
    return end < 0 or end + 8 > len(data)  # a checksum follows


def _webp(data: bytes) -> bool:
    size = int(struct.unpack_from("<I", data, 4)[0])
    return data[8:12] == b"WEBP" and len(data) < 8 + size  # sounds and films are RIFF too


def _gif(data: bytes) -> bool:
    """Walk over the blocks to the trailer."""
    place = 13 + _palette(data[10])
    while data[place] != 0x3B:
        if data[place] == 0x2C:  # a frame: descriptor, palette, code size
            place += 11 + _palette(data[place + 9])
        elif data[place] == 0x21:
            place += 2
        else:
            return False  # no block: damaged in another way
        while data[place]:
            place += 1 + data[place]
        place += 1
    return False


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _tiff(data: bytes) -> bool:
    """Look for the whole of the first directory, which often stands at the end."""
    order = "<" if data[:1] == b"I" else ">"
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    entries = struct.unpack_from(f"{order}H", data, start)[0]
    return len(data) < int(start + 2 + 12 * entries + 4)


def _boxes(data: bytes) -> bool:
    """Walk over the boxes of the ISO base media file format, which AVIF is a kind of."""
    place = 0
    while place + 8 <= len(data):
        size = int(struct.unpack_from(">I", data, place)[0])
        if size == 1 and place + 16 <= len(data):
            size = int(struct.unpack_from(">Q", data, place + 8)[0])
        if size < 8:
            return False  # 0: the box goes on to the end, wherever that is
        place += size
    return place != len(data)


_TESTS: tuple[tuple[bytes, Callable[[bytes], bool]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"GIF8", _gif),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
