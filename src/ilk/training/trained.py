"""Trained: what a training yields, whatever the mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import Catalog
from ilk.data.split import checked
from ilk.errors import DataError, listed, shown
from ilk.models.bundle import Bundle


@dataclass(frozen=True)
class Trained:
    """What a training yields.

    Attributes
    ----------
    bundle : Bundle
        The trained model.
    catalog : Catalog
        As given, less the pictures that could not be decoded.
    logits : float32 array [N, K]
        The model's logits for the pictures of the evaluation split, in the catalog's order.
    facts : dict
        What else is worth keeping: the strength chosen, how many features were cached.
    """

    bundle: Bundle
    catalog: Catalog
    logits: NDArray[np.float32]
    facts: dict[str, Any]


def less_unreadable(catalog: Catalog, errors: dict[int, str], limit: float) -> Catalog:
    """Return the catalog less the pictures that could not be decoded, given by row.

    Raises
    ------
    DataError
        They are more than ``limit``, as a share, or leave a class without (training) pictures.
    """
    rest = catalog.without({catalog.pictures[i].path: reason for i, reason in errors.items()})
    rest.refuse_unreadable(limit)
    gone = [label for label in catalog.classes if label not in rest.classes]
    if gone:
        first = next(x for x in rest.left_out if x.label in gone)
        raise DataError(
            f"None of the pictures of the class {listed(gone)} can be decoded; the first, "
            f"{shown(first.path)}, {first.reason}. Mend them, or remove the class."
        )
    return checked(rest)
