"""Ranges: which values of pictures of more than 8 bits become 0 and 255."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import Content, Picture
from ilk.data.containers import FORMATS, open_image
from ilk.data.depth import stored_values
from ilk.data.limits import Threads, refuse_too_large
from ilk.errors import DataError
from ilk.runtime import cores
from ilk.spec import Conversion, Range

SAMPLE = 200  # pictures
VALUES = 4096  # of a picture
PERCENTILES = (0.1, 99.9)
BITS = (8, 10, 12, 14, 16)
NEAR = 0.9  # of the highest value of so many bits: the pictures are stored in that many


def measured_range(
    pictures: Sequence[Picture],
    channels: tuple[int, ...] | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> Range | None:
    """Return the range of the values of a sample of pictures, less a thousandth at either end.

    An end that is near a natural one (0; the highest value of 8, 10, 12, 14 or 16 bits; 1 of
    floats) becomes that one. So the same pictures have the same range however they are sampled, and
    those that fill their bits look as they would in 8.

    Parameters
    ----------
    pictures : sequence of Picture
        Those with 8 bits a channel do not count.
    channels : tuple of int, optional
        The channels that are used.
    seed : int
        Of the sample.
    workers : int, optional
        Decoding threads; default one a core.

    Returns
    -------
    tuple of float or None
        None: there are no values to measure.
    """
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(pictures), min(SAMPLE, len(pictures)), replace=False))
    with Threads(workers or cores(), thread_name_prefix="ilk-range") as pool:
        found = pool.map(lambda i: _values_of(pictures[i], channels), chosen)
        values = [part for part in found if part is not None and part.size]
    return natural(np.concatenate(values)) if values else None


def natural(values: NDArray[Any]) -> Range:
    """Return the range of values, with ends that are near natural ones moved there."""
    low, high = (float(x) for x in np.percentile(values.astype(np.float64), PERCENTILES))
    tops = [2.0**bits - 1 for bits in BITS]
    if values.dtype.kind == "f":
        tops.insert(0, 1.0)
    high = next((top for top in tops if NEAR * top <= high <= top), high)
    if 0 <= low <= (1 - NEAR) * high:
        low = 0.0
    if not low < high:  # all pictures are blank
        low, high = min(low, 0.0), max(high, low + 1)
    return float(f"{low:.6g}"), float(f"{high:.6g}")


def range_text(span: Range) -> str:
    """Return a range as ``--range`` takes it."""
    return f"{span[0]:g}:{span[1]:g}"


def _values_of(picture: Picture, channels: tuple[int, ...] | None) -> NDArray[Any] | None:
    """Return some of a picture's values, evenly spread; None if it has 8 bits, or is damaged."""
    try:
        values = _stored(picture.read(), channels)
    except (OSError, DataError):
        return None
    except Exception:  # as in `ilk.data.decode`: it is reported where the picture is decoded
        return None
    if values is None or values.dtype == np.uint8:
        return None
    flat = values.reshape(-1)[:: max(1, values.size // VALUES)]
    return flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat


def _stored(content: Content, channels: tuple[int, ...] | None) -> NDArray[Any] | None:
    # Any range will do: it only says that the values are wanted as they are stored.
    wanted = Conversion(range=(0, 1), channels=channels)
    if isinstance(content, np.ndarray):
        return content
    if isinstance(content, bytes):
        with open_image(content, FORMATS) as image:
            refuse_too_large(*image.size)
            found = stored_values(image, content, wanted)
    else:
        found = stored_values(content, None, wanted)
    return found[0] if found else None
