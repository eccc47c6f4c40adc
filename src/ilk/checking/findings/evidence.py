"""Evidence: what the checks look at, one row a picture."""

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
    """All that is known of the pictures before anything is called wrong.

    Attributes
    ----------
    inspection : Inspection
        What files and pixels tell; its catalog gives the rows.
    features : float32 array [N, D], optional
        Of a pretrained backbone; None where there is none.
    probabilities : float32 array [N, K], optional
        Of the classes of the catalog, by a model that did not learn from the picture in question
        (out of fold); None where there are no features, or too few pictures of a class.
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
        """The class of each picture as a number int64 [N]; -1 of pictures without a label."""
        index = {label: k for k, label in enumerate(self.catalog.classes)}
        return np.array([index.get(p.label or "", -1) for p in self.catalog.pictures], np.int64)
