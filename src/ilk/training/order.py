"""Order: which pictures make up which step, as a function of seed and epoch alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Indices
from ilk.training.randomness import numpy_generator


def steps_in_epoch(pictures: int, batch: int) -> int:
    """Return how many batches an epoch takes."""
    return max(1, -(-pictures // batch))


def deal(
    rows: Indices, targets: NDArray[np.int64], *, batch: int, sampling: str, seed: int, epoch: int
) -> list[Indices]:
    """Deal the training pictures out to the steps of an epoch, evenly.

    A last batch of a few pictures would count each of them for many, and spoil the statistics of
    batch norms: 44 pictures make two batches of 22, not one of 32 and one of 12.

    Parameters
    ----------
    rows : int64 array [M]
        The training pictures.
    targets : int64 array
        The class of every picture, by row.
    batch : int
        Pictures in a step, at most.
    sampling : {"natural", "balanced"}
        ``natural``: each picture once; ``balanced``: drawn with replacement, every class
        equally often.
    seed, epoch : int

    Returns
    -------
    list of int64 arrays
    """
    draw = numpy_generator(seed, "order", epoch)
    if sampling == "balanced":
        classes = targets[rows]
        weights = 1 / np.bincount(classes)[classes]
        order = draw.choice(rows, len(rows), p=weights / weights.sum())
    else:
        order = draw.permutation(rows)
    return np.array_split(order, steps_in_epoch(len(order), batch))
