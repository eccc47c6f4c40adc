"""Pieces: an Engine that runs a whole exported network, a few pictures at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.base import Engine, Outputs


class PieceEngine(Engine):
    """Cuts a batch into pieces; more pictures at once only push each other out of the caches."""

    piece: int = 8
    most: int | None = None
    """The most pictures that the file can take at once; None: any number."""

    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Any thread may call it."""
        _, logits, features = self.run_freely(pixels)
        return Outputs(features, logits)

    def run_freely(self, pixels: Pixels) -> list[Floats]:
        """Return all that comes out, of pieces of the size that is fastest."""
        return self.run_in(pixels, min(self.piece, self.most or self.piece))

    def run_in(self, pixels: Pixels, size: int) -> list[Floats]:
        """Return all that comes out, of pieces of a size: see `run_piece`."""
        parts = [
            self.run_piece(np.ascontiguousarray(pixels[start : start + size]))
            for start in range(0, len(pixels), size)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    @abstractmethod
    def run_piece(self, pixels: Pixels) -> Sequence[Floats]:
        """Run pictures at once; return probabilities, logits ``[n, K]`` and features ``[n, D]``."""
