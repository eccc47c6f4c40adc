"""Records: what a model stores about its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.inference.novelty import NoveltyDetector
from ilk.models.bundle import KNOWN_FEATURES, Bundle

SplitLookup = Callable[[str], str | None]


@dataclass(frozen=True)
class Records:
    """What a model stores about its training.

    Attributes
    ----------
    split_of : callable
        Returns the split that a picture, given by digest, was in; None if it was not used.
    logits, targets : arrays [M, K] and [M]
        Of held-out pictures, to choose thresholds on.
    novelty : NoveltyDetector or None
        Detects out-of-distribution pictures.
    """

    split_of: SplitLookup
    logits: Floats
    targets: NDArray[np.int64]
    novelty: NoveltyDetector | None

    @classmethod
    def none(cls, classes: int) -> Records:
        """Return the records of a model that stores none."""
        return cls(lambda _: None, np.zeros((0, classes), np.float32), np.zeros(0, np.int64), None)

    @classmethod
    def of(cls, bundle: Bundle) -> Records:
        """Take the records out of a bundle."""
        spec, known = bundle.spec.novelty, bundle.tensors.get(KNOWN_FEATURES)
        novelty = NoveltyDetector(spec, known) if spec and known is not None else None
        return cls(bundle.split_of, *bundle.held_out, novelty)
