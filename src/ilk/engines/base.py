"""Engine: the one contract by which a network is run, whatever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from ilk.arrays import Floats, Pixels

Precision = Literal["auto", "fp32", "bf16"]


class Outputs(NamedTuple):
    """What a network makes of N pictures."""

    features: Floats
    """``float32 [N, D]``."""
    logits: Floats | None
    """``float32 [N, K]``; None where the network is a bare backbone."""


class Engine(ABC):
    """Runs batches of pixels through a network."""

    name: str
    """Says in a few words what runs, and in which precision: part of the feature cache's key."""
    lanes: int = 1
    """How many threads do well to run it at once: more than one where a batch, near its end, leaves
    cores idle that another could use."""

    @abstractmethod
    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Any thread may call it."""

    def close(self) -> None:  # noqa: B027 -- most have nothing to give back
        """Give back what the engine holds besides memory."""
