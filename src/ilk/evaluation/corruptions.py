"""Corruptions: the accuracy on pictures with noise, blur, weather and compression artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels, Targets
from ilk.data.limits import Threads
from ilk.evaluation.intervals import Measured, share
from ilk.runtime import Progress, cores, silent


@dataclass(frozen=True)
class Corruptions:
    """Accuracy under common corruptions.

    Attributes
    ----------
    clean : Measured
        On the same pictures, uncorrupted.
    by_corruption : mapping of str to list of Measured
        At severity 1 to 5.
    """

    clean: Measured
    by_corruption: Mapping[str, list[Measured]]

    @property
    def mean(self) -> float:
        """The mean accuracy over all corruptions and severities."""
        return float(np.mean([m.value for row in self.by_corruption.values() for m in row]))

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "clean": self.clean.to_dict(),
            "mean_accuracy": self.mean,
            "by_corruption": {
                name: [m.to_dict() for m in row] for name, row in self.by_corruption.items()
            },
        }


def score_corrupted(
    logits_of: Callable[[Pixels], Floats],
    pixels: Pixels,
    targets: Targets,
    progress: Progress = silent,
) -> Corruptions:
    """Score a model on pictures under each corruption at each severity.

    Parameters
    ----------
    logits_of : callable
        Maps pixels ``uint8 [N, S, S, 3]`` to logits ``[N, K]``.
    pixels : uint8 array [N, S, S, 3]
    targets : int64 array [N]
    """
    from ilk.evaluation.corrupt import CORRUPTIONS, SEVERITIES

    def accuracy(changed: Pixels) -> Measured:
        return share(logits_of(changed).argmax(axis=1) == targets)

    found: dict[str, list[Measured]] = {name: [] for name in CORRUPTIONS}
    with progress(
        "scoring corrupted pictures", len(CORRUPTIONS) * len(SEVERITIES) * len(pixels)
    ) as tick:
        for name, corrupted in _corrupted(pixels):
            found[name].append(accuracy(corrupted))
            tick(len(pixels))
    return Corruptions(accuracy(pixels), found)


def _corrupted(pixels: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Yield each corruption, mild to severe; the next is computed while one is scored."""
    from ilk.evaluation.corrupt import CORRUPTIONS, SEVERITIES, corrupt

    jobs = list(product(CORRUPTIONS, SEVERITIES))
    with Threads(cores()) as pool:

        def begin(name: str, severity: int) -> Iterator[Pixels]:
            changed = partial(corrupt, name=name, severity=severity)
            return pool.map(lambda i: changed(pixels[i], seed=i), range(len(pixels)))

        ahead = begin(*jobs[0])
        for (name, _), following in zip(jobs, [*jobs[1:], None], strict=True):
            made = np.stack(list(ahead))
            if following:
                ahead = begin(*following)
            yield name, made
