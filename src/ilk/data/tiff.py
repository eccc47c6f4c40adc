"""TIFF: pages and channels as they are stored, of any number and type.

Pillow has a mode for few combinations of channels, type, byte order and photometric interpretation.
For the others, and where the values themselves count, its decoders are given the same file with
another directory: one that calls each row a row of bytes. They undo the compression, and the bytes
are then what the original directory says.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from ilk.data.limits import refuse_too_large, refuse_too_many_bytes
from ilk.errors import DecodeError

Values = NDArray[Any]
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
MOST_PAGES = 10_000
MOST_SAMPLES = 10_000  # channels of a page
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, ORIENTATION, SAMPLES, COUNTS, PLANAR = 273, 274, 277, 279, 284
PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_COUNTS, EXTRA, FORMAT = 317, 322, 324, 325, 338, 339
SUBFILE, ROWS, TILE_HEIGHT, FILL_ORDER = 254, 278, 323, 266
LONG = 4  # the type of a number of 32 bits
READ = {
    SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, OFFSETS, ORIENTATION,
    SAMPLES, ROWS, COUNTS, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS,
    EXTRA, FORMAT,
}  # fmt: skip
KEPT = (HEIGHT, COMPRESSION, ROWS, TILE_HEIGHT)
# None, LZW, deflate (two numbers), PackBits, LZMA, zstd: they know nothing of channels.
GENERIC = {1, 5, 8, 32946, 32773, 34925, 50000}
PREDICTED = GENERIC - {1, 32773}
WHITE_IS_ZERO, RGB = 0, 2
TYPES = {1: "u", 2: "i", 3: "f"}
MODES = {"u1": "L", "u2": "I;16", "f2": "F", "f4": "F", "f8": "F"}  # Pillow's, which tell the depth
SIZES = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8)}


@dataclass(frozen=True)
class Page:
    """One page: its size, its channels and how their values are stored."""

    width: int
    height: int
    samples: int
    dtype: np.dtype[Any] | None  # None of what only Pillow can unpack
    white_is_zero: bool
    colours: bool  # the first three channels are RGB
    tags: dict[int, Any]

    @property
    def readable(self) -> bool:
        """Whether its values can be read as they are stored."""
        generic = self.tags.get(COMPRESSION, 1) in GENERIC
        plain = self.tags.get(FILL_ORDER, 1) == 1 and self.tags.get(PREDICTOR, 1) in {1, 2, 3}
        return self.dtype is not None and generic and plain


class StoredTiff(ImageFile.ImageFile):
    """A TIFF that Pillow has no mode for; its picture is its first channel, or its RGB."""

    format = "TIFF"

    def _open(self) -> None:
        assert self.fp is not None
        self.data = self.fp.read()
        pages = planes_of(self.data)
        page = pages[0]
        if not page.readable or page.dtype is None:
            raise SyntaxError(
                f"its layout (bits {page.tags.get(BITS)}, compression "
                f"{page.tags.get(COMPRESSION, 1)}) cannot be read: save it as 8 or 16 bit, "
                "uncompressed or with LZW"
            )
        self._size = (page.width, page.height)
        self._mode = MODES.get(page.dtype.str[1:], "I")
        if page.colours and self._mode == "L":
            self._mode = "RGB"
        self.bytes_of_a_pixel = page.samples * page.dtype.itemsize
        self.n_frames = len(pages)
        self.is_animated = len(pages) > 1
        self.tile = []

    def load(self) -> Any:
        """Refuse: the values are read by `read_planes`."""
        raise NotImplementedError


class _Rows(TiffImageFile):
    """A TIFF of bytes, as `_with_directory` writes it: its size has been looked at already."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        ImageFile.ImageFile.load_prepare(self)


def planes_of(data: bytes) -> list[Page]:
    """Return the pages that have the size of the first; smaller ones are previews.

    Raises
    ------
    DecodeError
        There is none.
    Exception
        Whatever Pillow raises for a damaged directory.
    """
    pages = list(_pages(data))
    if not pages:
        raise DecodeError("is damaged: it has no page")
    first = pages[0]
    size = (first.width, first.height)
    return [first, *(p for p in pages[1:] if (p.width, p.height) == size and not _preview(p))]


def plane_count(pages: Sequence[Page]) -> int:
    """Return how many channels all pages have together."""
    return sum(page.samples for page in pages)


def read_planes(
    data: bytes, channels: Sequence[int] | None, pages: Sequence[Page] | None = None
) -> tuple[Values, bool]:
    """Return the values ``[H, W]`` or ``[H, W, 3]``, upright, and whether 0 is white.

    Parameters
    ----------
    channels : sequence of int, optional
        Counted from 0 through all channels of the first page, then of the second, and so on;
        default: the first page's colours if it has some, else its first channel.
    pages : sequence of Page, optional
        What `planes_of` returned for the same bytes.

    Raises
    ------
    DecodeError
        A channel is not there, or a page cannot be read.
    """
    pages = planes_of(data) if pages is None else pages
    if channels is None:
        channels = (0, 1, 2) if pages[0].colours else (0,)
    refuse_missing(channels, plane_count(pages))
    ends = list(accumulate(page.samples for page in pages))
    on = [bisect_right(ends, channel) for channel in channels]  # the page of each
    wanted = [(i, c - ends[i] + pages[i].samples) for i, c in zip(on, channels, strict=True)]
    read: dict[tuple[int, int], Values] = {}
    for i in dict.fromkeys(on):
        samples = [s for page, s in dict.fromkeys(wanted) if page == i]
        cube = _values(data, pages[i], samples)
        read |= {(i, s): cube[..., k] for k, s in enumerate(samples)}
    found = [read[place] for place in wanted]
    values = found[0] if len(found) == 1 else np.stack(found, axis=-1)
    first = pages[wanted[0][0]]
    return _upright(values, first.tags.get(ORIENTATION, 1)), first.white_is_zero


def refuse_missing(channels: Sequence[int], number: int) -> None:
    """Refuse channels that a picture does not have.

    Raises
    ------
    DecodeError
        It has fewer.
    """
    if max(channels) >= number:
        had = "1 page or channel" if number == 1 else f"{number} pages or channels"
        raise DecodeError(
            f"has {had}, and --channels {','.join(map(str, channels))} asks for more: they count "
            "from 0"
        )


def is_white_zero(tags: Mapping[int, Any]) -> bool:
    """Say whether the highest value is black; so it is without the tag, as Pillow has it."""
    return bool(tags) and tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO


def _pages(data: bytes) -> Iterator[Page]:
    stream = io.BytesIO(data)
    header = data[: 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8]
    directory = ImageFileDirectory_v2(header)
    seen: set[int] = set()
    place, budget = directory.next, len(data)  # pages may not share their tags by the hundred
    while place and place not in seen and len(seen) < MOST_PAGES:
        seen.add(place)
        stream.seek(place)
        directory = ImageFileDirectory_v2(header)
        directory._tag_data_limit = budget
        directory.load(stream)
        budget -= directory._tag_data_size
        tags = {tag: directory[tag] for tag in READ if tag in directory}
        yield _page(tags, "<" if data[:1] == b"I" else ">")
        place = directory.next


def _page(tags: dict[int, Any], order: str) -> Page:
    bits = tags.get(BITS, (1,))
    kinds = tags.get(FORMAT, (1,))
    samples = int(tags.get(SAMPLES, 1))
    if not 1 <= samples <= MOST_SAMPLES:
        raise DecodeError(f"has {samples:,} channels, and may have 1 to {MOST_SAMPLES:,}: split it")
    alike = len(set(bits)) == 1 and len(set(kinds)) == 1
    letter = TYPES.get(kinds[0], "") if alike else ""
    size = bits[0] // 8 if bits[0] % 8 == 0 else 0
    dtype = np.dtype(f"{order}{letter}{size}") if size in SIZES.get(letter, ()) else None
    photometric = tags.get(PHOTOMETRIC, WHITE_IS_ZERO)
    return Page(
        int(tags[WIDTH]),
        int(tags[HEIGHT]),
        samples,
        dtype if photometric in {0, 1, 2} else None,  # others are no plain values: Pillow's work
        is_white_zero(tags),
        photometric == RGB and samples >= 3,
        tags,
    )


def refuse_large_tiles(tags: Mapping[int, Any]) -> None:
    """Refuse tiles that take more memory than pictures may.

    Raises
    ------
    DecodeError
        They do.
    """
    width, height = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_HEIGHT, 0))
    if width and height:
        refuse_too_large(width, height)
        refuse_too_many_bytes(
            width * height * int(tags.get(SAMPLES, 1)) * max(1, max(tags.get(BITS, (1,))) // 8)
        )


def _preview(page: Page) -> bool:
    return bool(page.tags.get(SUBFILE, 0) & 1)


def _values(data: bytes, page: Page, wanted: Sequence[int]) -> Values:
    """Return the values of some channels of a page, ``[H, W, len(wanted)]``.

    Raises
    ------
    DecodeError
        It is too large, or of a layout that is not read.
    """
    refuse_too_large(page.width, page.height)
    refuse_large_tiles(page.tags)
    if not page.readable or page.dtype is None:
        raise DecodeError("has a page of a kind whose values cannot be read: save it as 16 bit")
    refuse_too_many_bytes(page.width * page.height * page.samples * page.dtype.itemsize)
    if page.tags.get(PLANAR, 1) == 2 and page.samples > 1:
        planes = [_decoded(data, page, 1, plane) for plane in wanted]
        return np.concatenate(planes, axis=2)
    return _decoded(data, page, page.samples, None)[..., list(wanted)]


def _decoded(data: bytes, page: Page, samples: int, plane: int | None) -> Values:
    """Let Pillow undo the compression of a page, or of one plane of it: ``[H, W, samples]``."""
    assert page.dtype is not None
    factor = samples * page.dtype.itemsize
    tags = {tag: page.tags[tag] for tag in KEPT if tag in page.tags}
    tags |= {WIDTH: page.width * factor, BITS: (8,), PHOTOMETRIC: 1, SAMPLES: 1, FORMAT: (1,)}
    if TILE_WIDTH in page.tags:
        tags[TILE_WIDTH] = page.tags[TILE_WIDTH] * factor
    for tag in (OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS):
        if tag in page.tags:
            entries = page.tags[tag]
            share = len(entries) // page.samples
            tags[tag] = entries if plane is None else entries[plane * share :][:share]
    with _Rows(_with_directory(data, tags)) as image:
        rows = np.asarray(image)
    if rows.shape != (page.height, page.width * factor):
        raise DecodeError("is damaged: it has fewer pixels than its header says")
    values = _unpredicted(rows, page, samples)
    return values.reshape(page.height, page.width, samples)


def _with_directory(data: bytes, tags: dict[int, Any]) -> IO[bytes]:
    """Return a classic TIFF of the same data, with another directory of numbers at its end."""
    order = "<" if data[:1] == b"I" else ">"
    start = len(data) + len(data) % 2
    entries, longer = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = struct.pack(f"{order}I", behind + len(longer))
            packed, longer = place, longer + packed
        entries += struct.pack(f"{order}HHI", tag, LONG, len(numbers)) + packed
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + longer
    header = data[:2] + struct.pack(f"{order}HI", 42, start)
    return io.BytesIO(b"".join((header, data[8:], bytes(start - len(data)), directory)))


def _unpredicted(rows: Values, page: Page, samples: int) -> Values:
    """Undo the predictor, and see the bytes as what they are: ``[H, W * samples]``."""
    assert page.dtype is not None
    dtype = page.dtype
    predictor = page.tags.get(PREDICTOR, 1) if page.tags.get(COMPRESSION, 1) in PREDICTED else 1
    if predictor == 3:  # bytes of equal weight stand together, the most significant ones first
        size = dtype.itemsize
        differences = rows.reshape(len(rows), -1, samples)
        summed = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(len(rows), size, -1)
        return np.ascontiguousarray(summed.swapaxes(1, 2)).view(f">f{size}")[..., 0]
    if predictor == 2:
        unsigned = np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
        values = np.ascontiguousarray(rows).view(unsigned)
        differences = values.reshape(len(rows), -1, samples)
        native = unsigned.newbyteorder("=")
        total = np.cumsum(differences, axis=1, dtype=native).reshape(len(rows), -1)
        return total.view(dtype.newbyteorder("="))
    return np.ascontiguousarray(rows).view(dtype)


def _upright(values: Values, orientation: int) -> Values:
    """Turn an array as the tag of that name says."""
    if orientation in {5, 6, 7, 8}:
        values = values.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        values = values[:, ::-1]
    return values[::-1] if orientation in {3, 4, 7, 8} else values
