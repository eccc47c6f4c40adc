"""Verify: run what was exported beside the network that it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.pieces import PieceEngine

SIZES = (1, 2, 7, 32)  # batches, as the runtime sees them; the last one takes all pictures


@dataclass(frozen=True, eq=False)
class Beside:
    """What an exported file makes of pictures.

    Attributes
    ----------
    probabilities : float32 array [N, K]
        As the file gives them.
    logits : float32 array [N, K]
    features : float32 array [N, D]
    difference : float
        The largest of the probabilities from the model's, at any size of batch; nan if something
        that comes out is no number.
    sizes : tuple of int
        The sizes of batches that were tried.
    """

    probabilities: Floats
    logits: Floats
    features: Floats
    difference: float
    sizes: tuple[int, ...]


def beside(engine: PieceEngine, pixels: Pixels, expected: Floats) -> Beside:
    """Run pictures in batches of 1, 2, 7 and 32, and in the pieces that the engine itself takes.

    As far as there are so many pictures, and the file allows.

    Parameters
    ----------
    engine : PieceEngine
        Runs the exported file.
    pixels : uint8 array [N, S, S, 3]
        At least one.
    expected : float32 array [N, K]
        The model's probabilities.
    """
    most = min(len(pixels), engine.most or len(pixels))
    *few, largest = dict.fromkeys(min(size, most) for size in SIZES)
    whole = engine.run_in(pixels, largest)
    gaps = [np.abs(whole[0] - expected).max()]
    for size in few:
        some = pixels[: 2 * size]
        gaps.append(np.abs(engine.run_in(some, size)[0] - expected[: len(some)]).max())
    some = pixels[:largest]
    gaps.append(np.abs(engine.run_freely(some)[0] - expected[:largest]).max())
    finite = all(bool(np.isfinite(output).all()) for output in whole)
    difference = float(max(gaps)) if finite else float("nan")
    probabilities, logits, features = whole
    return Beside(probabilities, logits, features, difference, (*few, largest))
