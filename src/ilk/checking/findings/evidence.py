"""Evidence: what the checks look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.data.catalog import Catalog
from ilk.data.inspection.inspect import Inspection


@dataclass(frozen=True)
class Evidence:
    """What is known about N pictures before looking for problems.

    Attributes
    ----------
    inspection : Inspection
        Files, headers and statistics of the pixels; its catalog has the N pictures.
    features : float32 array [N, D], optional
        By a pretrained backbone.
    probabilities : float32 array [N, K], optional
        Out of fold: by a model that was not trained on the picture.
    """

    inspection: Inspection
    features: Floats | None = None
    probabilities: Floats | None = None

    @property
    def catalog(self) -> Catalog:
        """The pictures that can be read, with their digests."""
        return self.inspection.catalog

    @property
    def paths(self) -> list[str]:
        """The path of each picture."""
        return [p.path for p in self.catalog.pictures]

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The class index of each picture, ``int64 [N]``; -1 for pictures without a label."""
        index = {label: k for k, label in enumerate(self.catalog.classes)}
        return np.array([index.get(p.label or "", -1) for p in self.catalog.pictures], np.int64)
