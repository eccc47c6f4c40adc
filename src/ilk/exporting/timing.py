"""Timing: the speed of several classifiers, interleaved so that machine drift affects all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Pixels
from ilk.data.catalog import Picture
from ilk.inference.classifier import Classifier

ROUNDS = 7
SINGLES = 15  # runs of one picture a round
BATCH_SIZES = (8, 32)
MAX_SINGLES_S = 0.3  # seconds for the single pictures of a round
PAUSE_S = 0.25  # after which the previous runtime's threads have stopped spinning


@dataclass(frozen=True, eq=False)
class Speed:
    """The speed of one classifier.

    Attributes
    ----------
    latencies : float array
        Seconds from pixels to prediction, one picture at a time.
    throughputs : dict of int to float
        Pictures a second from pixels, by batch size: the median of the rounds.
    end_to_end : float or None
        Pictures a second from encoded files, decoding included; None without files.
    """

    latencies: NDArray[np.float64] = field(repr=False)
    throughputs: dict[int, float]
    end_to_end: float | None

    @property
    def best_batch(self) -> int:
        """The batch size with the highest throughput."""
        return max(self.throughputs, key=lambda size: self.throughputs[size])

    @property
    def throughput(self) -> float:
        """Pictures a second at the best batch size."""
        return self.throughputs[self.best_batch]

    def latency_ms(self) -> dict[str, float]:
        """Return percentiles of the latency, in milliseconds."""
        found = np.percentile(1000 * self.latencies, [50, 95, 99])
        return {name: float(v) for name, v in zip(("p50", "p95", "p99"), found, strict=True)}


def benchmark_interleaved(
    classifiers: Sequence[Classifier],
    pixels: Pixels,
    files: Sequence[Picture],
    rounds: int = ROUNDS,
) -> list[Speed]:
    """Time classifiers on the same pixels in interleaved rounds.

    Parameters
    ----------
    pixels : uint8 array [N, S, S, 3]
        At the classifiers' input size; repeated if N is below 32.
    files : sequence of Picture
        Encoded, in memory; may be empty.
    """
    pixels = np.resize(pixels, (max(len(pixels), *BATCH_SIZES), *pixels.shape[1:]))
    timings = [_Timings(classifier, pixels, files) for classifier in classifiers]
    for number in range(rounds):
        first = number % len(timings)  # rotate, so that none always follows the same one
        for timing in (*timings[first:], *timings[:first]):
            timing.measure()
    return [timing.speed() for timing in timings]


class _Timings:
    """The measurements of one classifier."""

    def __init__(self, classifier: Classifier, pixels: Pixels, files: Sequence[Picture]) -> None:
        self._classifier = classifier
        self._pixels = pixels
        self._files = files
        self._singles: list[float] = []
        self._batches: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
        self._end_to_end: list[float] = []

    def measure(self) -> None:
        run = self._classifier.engine.run
        time.sleep(PAUSE_S)
        run(self._pixels[: min(BATCH_SIZES)])  # warm up: the caches hold another network's data
        began = time.perf_counter()
        for i in range(SINGLES):
            start = time.perf_counter()
            run(self._pixels[i : i + 1])
            self._singles.append(time.perf_counter() - start)
            if time.perf_counter() - began > MAX_SINGLES_S:
                break
        for size in BATCH_SIZES:
            start = time.perf_counter()
            run(self._pixels[:size])
            self._batches[size].append(size / (time.perf_counter() - start))
        if self._files:
            start = time.perf_counter()
            for _ in self._classifier.stream(self._files):
                pass
            self._end_to_end.append(len(self._files) / (time.perf_counter() - start))

    def speed(self) -> Speed:
        singles = np.array(self._singles)
        throughputs = {size: float(np.median(found)) for size, found in self._batches.items()}
        throughputs[1] = float(1 / np.median(singles))
        end_to_end = float(np.median(self._end_to_end)) if self._end_to_end else None
        return Speed(singles, throughputs, end_to_end)
