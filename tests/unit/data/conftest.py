"""Pictures of 16 bits a channel in colour, which Pillow cannot write."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest


def png(values):
    """Return a 16-bit RGB PNG; each row has another filter."""
    height, width, _ = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = []
    for y, row in enumerate(rows):
        above = rows[y - 1] if y else np.zeros_like(row)
        left = np.concatenate([np.zeros(6, np.uint8), row[:-6]])
        kind = y % 3
        filtered.append(bytes([kind]) + (row - (0, left, above)[kind]).astype(np.uint8).tobytes())

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(filtered)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(*pages, order="<", photometric=1, planar=False, compress=False, predictor=1, more=()):
    """Return a TIFF of pages ``[H, W]`` or ``[H, W, C]`` of any type."""
    place, body, directories = 8, b"", []
    for values in pages:
        height, width, channels = values.shape if values.ndim == 3 else (*values.shape, 1)
        kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
        cube = values.reshape(height, width, channels)
        planes = np.moveaxis(cube, 2, 0)[..., None] if planar else cube[None]
        if predictor == 2:
            planes = np.diff(planes, axis=2, prepend=planes.dtype.type(0))
        strips = [
            np.ascontiguousarray(p.astype(p.dtype.newbyteorder(order))).tobytes() for p in planes
        ]
        strips = [zlib.compress(s) if compress else s for s in strips]
        offsets = [place + len(body) + sum(map(len, strips[:i])) for i in range(len(strips))]
        body += b"".join(strips)
        body += bytes(len(body) % 2)
        directories.append([
            (256, "I", [width]), (257, "I", [height]),
            (258, "H", [8 * values.dtype.itemsize] * channels),
            (259, "H", [8 if compress else 1]), (262, "H", [photometric]),
            (273, "I", offsets), (277, "H", [channels]), (278, "I", [height]),
            (279, "I", [len(s) for s in strips]), (284, "H", [2 if planar else 1]),
            (317, "H", [predictor]), (339, "H", [kind] * channels), *more,
        ])  # fmt: skip
    start = place + len(body)
    out = b""
    for number, entries in enumerate(directories):
        here = start + len(out)
        extra_at = here + 2 + 12 * len(entries) + 4
        table, extra = b"", b""
        for tag, letter, numbers in sorted(entries):
            packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
            if len(packed) > 4:
                field = struct.pack(f"{order}I", extra_at + len(extra))
                extra += packed + bytes(len(packed) % 2)
            else:
                field = packed.ljust(4, b"\0")
            table += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[letter], len(numbers)) + field
        following = extra_at + len(extra) if number + 1 < len(directories) else 0
        out += struct.pack(f"{order}H", len(entries)) + table
        out += struct.pack(f"{order}I", following) + extra
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", start) + body + out


@pytest.fixture
def colours_of_16_bits():
    return lambda values, name: png(values) if name == "PNG" else tiff(values, photometric=2)


@pytest.fixture
def write_tiff():
    return tiff
