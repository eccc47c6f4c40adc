"""Timing: how fast classifiers are, beside one another, so that a drifting machine harms all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Pixels
from ilk.data.catalog import Picture
from ilk.inference import Classifier

ROUNDS = 7
SINGLES = 15  # runs of one picture in a round
SIZES = (8, 32)
SLOWEST = 0.3  # seconds that a classifier may take for the single pictures of a round
PAUSE = 0.25  # seconds after which another runtime's threads no longer spin for work to come


@dataclass(frozen=True, eq=False)
class Speed:
    """How fast one classifier was.

    Attributes
    ----------
    latencies : float array
        Seconds from pixels to answer, of one picture at a time.
    throughputs : dict of int to float
        Pictures a second by size of batch: of pixels, the median of the rounds.
    end_to_end : float or None
        Pictures a second from the bytes of files, decoding included; None without files.
    """

    latencies: NDArray[np.float64] = field(repr=False)
    throughputs: dict[int, float]
    end_to_end: float | None

    @property
    def best_batch(self) -> int:
        """The size of batch at which most pictures go through."""
        return max(self.throughputs, key=lambda size: self.throughputs[size])

    @property
    def throughput(self) -> float:
        """Pictures a second at the best size of batch."""
        return self.throughputs[self.best_batch]

    def latency_ms(self) -> dict[str, float]:
        """Return percentiles of the latency, in milliseconds."""
        found = np.percentile(1000 * self.latencies, [50, 95, 99])
        return {name: float(v) for name, v in zip(("p50", "p95", "p99"), found, strict=True)}


def race(
    classifiers: Sequence[Classifier],
    pixels: Pixels,
    files: Sequence[Picture],
    rounds: int = ROUNDS,
) -> list[Speed]:
    """Time classifiers of the same pixels in interleaved rounds.

    Parameters
    ----------
    classifiers : sequence of Classifier
    pixels : uint8 array [N, S, S, 3]
        As large as the classifiers take them; repeated if there are fewer than 32.
    files : sequence of Picture
        Encoded, in memory; may be empty.
    rounds : int
    """
    pixels = np.resize(pixels, (max(len(pixels), *SIZES), *pixels.shape[1:]))
    laps = [_Laps(classifier, pixels, files) for classifier in classifiers]
    for turn in range(rounds):
        first = turn % len(laps)  # nobody always comes after the same one
        for lap in (*laps[first:], *laps[:first]):
            lap.run()
    return [lap.speed() for lap in laps]


class _Laps:
    """The rounds of one classifier."""

    def __init__(self, classifier: Classifier, pixels: Pixels, files: Sequence[Picture]) -> None:
        self._classifier = classifier
        self._pixels = pixels
        self._files = files
        self._singles: list[float] = []
        self._batches: dict[int, list[float]] = {size: [] for size in SIZES}
        self._whole: list[float] = []

    def run(self) -> None:
        run = self._classifier.engine.run
        time.sleep(PAUSE)
        run(self._pixels[: min(SIZES)])  # the caches are someone else's, or empty
        began = time.perf_counter()
        for i in range(SINGLES):
            start = time.perf_counter()
            run(self._pixels[i : i + 1])
            self._singles.append(time.perf_counter() - start)
            if time.perf_counter() - began > SLOWEST:
                break
        for size in SIZES:
            start = time.perf_counter()
            run(self._pixels[:size])
            self._batches[size].append(size / (time.perf_counter() - start))
        if self._files:
            start = time.perf_counter()
            for _ in self._classifier.stream(self._files):
                pass
            self._whole.append(len(self._files) / (time.perf_counter() - start))

    def speed(self) -> Speed:
        singles = np.array(self._singles)
        throughputs = {size: float(np.median(found)) for size, found in self._batches.items()}
        throughputs[1] = float(1 / np.median(singles))
        whole = float(np.median(self._whole)) if self._whole else None
        return Speed(singles, throughputs, whole)
