"""Trained: what a training yields, whatever the mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ilk.arrays import Floats
from ilk.data.catalog import Catalog, Picture
from ilk.data.split import checked
from ilk.errors import DataError
from ilk.models.bundle import Bundle
from ilk.text import escaped, join_limited


@dataclass(frozen=True)
class Answers:
    """What a model, or one just like it, makes of pictures.

    Attributes
    ----------
    pictures : tuple of Picture
    features : float32 array [N, D]
    logits : float32 array [N, K]
    """

    pictures: tuple[Picture, ...]
    features: Floats
    logits: Floats


@dataclass(frozen=True)
class Trained:
    """What a training yields.

    Attributes
    ----------
    bundle : Bundle
        The trained model.
    catalog : Catalog
        As given, less the pictures that could not be decoded.
    reported : Answers
        Of the pictures of the evaluation split, in the catalog's order.
    held_out : Answers
        Of others, on which no score is reported: by these probabilities are made honest and
        thresholds chosen. There may be none.
    known : Answers
        Some of what it learned from.
    facts : dict
        What else is worth keeping: the strength chosen, how many features were cached.
    """

    bundle: Bundle
    catalog: Catalog
    reported: Answers
    held_out: Answers
    known: Answers
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
            f"None of the pictures of the class {join_limited(gone)} can be decoded; the first, "
            f"{escaped(first.path)}, {first.reason}. Mend them, or remove the class."
        )
    return checked(rest)
