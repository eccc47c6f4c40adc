"""JPEG XL: the size that a file's header tells, before the package decodes all of it."""

from __future__ import annotations

from ilk.data import limits

_BOXES = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_WIDTHS = (9, 13, 18, 30)  # bits of a side


class _Bits:
    """Reads numbers from bytes, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, bits: int) -> int:
        found = self._value & ((1 << bits) - 1)
        self._value >>= bits
        return found


def refuse_too_large(data: bytes) -> None:
    """Refuse a picture with more pixels than the limit.

    Raises
    ------
    DecodeError
        It is too large.
    ValueError
        It has no size.
    """
    limits.refuse_too_large(*size_of(data))


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height: ISO/IEC 18181-1, "SizeHeader".

    Raises
    ------
    ValueError
        There is none.
    """
    stream = _codestream(data) if data.startswith(_BOXES) else data
    if not stream.startswith(b"\xff\x0a"):
        raise ValueError("has no codestream")
    bits = _Bits(stream[2:16])
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take(_WIDTHS[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return side(), height
    over, under = _RATIOS[ratio - 1]
    return height * over // under, height


def _codestream(data: bytes) -> bytes:
    """Return the start of the codestream, which may come in parts (``jxlp``), in boxes."""
    place = 0
    while place + 8 <= len(data):
        size, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        start = place + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8]), start + 8
        if kind in {b"jxlc", b"jxlp"}:
            start += 4 * (kind == b"jxlp")
            return data[start : start + 32]
        if size < 8:
            break
        place += size
    return b""
