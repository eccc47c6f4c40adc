"""Engine: the contract by which a network is run, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ilk.arrays import Floats, Pixels

Precision = Literal["auto", "fp32", "bf16"]


class Outputs(NamedTuple):
    """The outputs of a network for N pictures."""

    features: Floats
    """``float32 [N, D]``."""
    logits: Floats | None
    """``float32 [N, K]``; None if the network is a bare backbone."""


class Engine(ABC):
    """Runs batches of pixels through a network."""

    name: str
    """What runs the network, and in which precision. Part of the feature cache's key."""
    concurrency: int = 1
    """How many threads should call `run` at once: more than one if the end of a batch leaves cores
    idle that another batch could use."""

    @abstractmethod
    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Thread-safe."""

    def close(self) -> None:  # noqa: B027 -- most engines hold nothing but memory
        """Release what the engine holds besides memory."""


class ChunkedEngine(Engine):
    """Runs an exported network in chunks: larger batches would only evict each other from cache."""

    chunk: int = 8
    """The fastest batch size."""
    max_batch: int | None = None
    """The largest batch that the file accepts; None: any."""

    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Thread-safe."""
        _, logits, features = self.run_fastest(pixels)
        return Outputs(features, logits)

    def run_fastest(self, pixels: Pixels) -> list[Floats]:
        """Return all outputs, computed in chunks of the fastest size."""
        return self.run_in_chunks(pixels, min(self.chunk, self.max_batch or self.chunk))

    def run_in_chunks(self, pixels: Pixels, size: int) -> list[Floats]:
        """Return all outputs, computed in chunks of a given size: see `run_chunk`."""
        parts = [
            self.run_chunk(np.ascontiguousarray(pixels[start : start + size]))
            for start in range(0, len(pixels), size)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    @abstractmethod
    def run_chunk(self, pixels: Pixels) -> Sequence[Floats]:
        """Run one batch; return probabilities, logits ``[n, K]`` and features ``[n, D]``."""
