"""In memory: a catalog of arrays or tensors with their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from os import PathLike
from typing import Any

import numpy as np

from ilk.arrays import Pixels
from ilk.data.catalog import Catalog, Picture
from ilk.errors import DataError, UsageError
from ilk.spec import SPLITS
from ilk.text import pluralize


def from_arrays(
    images: Any,
    labels: Iterable[str] | None = None,
    *,
    splits: Iterable[str] | None = None,
    name: str = "arrays",
) -> Catalog:
    """Make a catalog from pictures held in memory.

    Parameters
    ----------
    images : sequence of arrays, PIL images, bytes or paths; one array, or a tensor
        Arrays: each ``[H, W, 3]`` RGB (tensors ``[3, H, W]`` too) or ``[H, W]`` grey; ``uint8``,
        or of another numeric type if all are of about the same range.
    labels, splits : iterables of str, optional
        One entry a picture. Labels that are numbers are turned into names; one-hot rows ``[N, K]``
        are the number of their column; a label that is missing (None, NaN) stays so.
    name : str
        What messages and reports call the data.

    Returns
    -------
    Catalog

    Raises
    ------
    DataError
        An array is of another type or shape, the lengths differ, or a split is unknown.
    UsageError
        The labels have another shape.
    """
    images = without_torch(images)
    number = len(images)
    given_labels = [None] * number if labels is None else labels_of(labels)
    given_splits: list[str | None] = [None] * number if splits is None else list(splits)
    for what, given in (("label", given_labels), ("split", given_splits)):
        if len(given) != number:
            raise DataError(
                f"There are {pluralize(number, 'picture')} and {pluralize(len(given), what)}: give "
                f"each picture one {what}."
            )
    unknown = [] if splits is None else [s for s in given_splits if s not in SPLITS]
    if unknown:
        raise DataError(
            f"Unknown split {unknown[0]!r}; give each picture one of: {', '.join(SPLITS)}."
        )
    width = len(str(number))
    return Catalog(
        tuple(
            _picture(image, i, f"{name}/{i:0{width}d}", label, split)
            for i, (image, label, split) in enumerate(
                zip(images, given_labels, given_splits, strict=True)
            )
        ),
        source=name,
    )


def _picture(image: Any, index: int, name: str, label: str | None, split: str | None) -> Picture:
    if isinstance(image, str | PathLike):
        return Picture(str(image), label, split)
    if hasattr(image, "getexif") or isinstance(image, bytes):  # a PIL image, or a file's content
        return Picture(name, label, split, content=image)
    return Picture(name, label, split, content=rgb(without_torch(image), index))


def rgb(image: Any, index: int, deep: bool = True) -> Pixels:
    """Return pixels ``[H, W, 3]``, grey repeated over the channels.

    Unless ``deep``, only ``uint8`` will do.

    Raises
    ------
    DataError
        The array is of another type or shape; ``index`` names it in the message.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"Picture {index} is of type {type(image).__name__}; give an array, a PIL image, a "
            "file's bytes or a path."
        )
    grey = image.ndim == 2
    shaped = grey or (image.ndim == 3 and image.shape[2] == 3)
    numbers = image.dtype.kind in "uif" if deep else image.dtype == np.uint8
    if not numbers or not shaped or not image.size:
        raise DataError(
            f"Picture {index} is {image.dtype} {list(image.shape)}; "
            "give uint8 [H, W, 3] in RGB, or uint8 [H, W] in grey, with values 0 to 255."
        )
    return np.repeat(image[:, :, None], 3, axis=2) if grey else image


def without_torch(value: Any) -> Any:
    """Return a tensor as an array with its channels last; anything else as it is."""
    if not hasattr(value, "cpu"):
        return value
    array = value.detach().cpu().numpy()
    if array.ndim in {3, 4} and array.shape[-3] == 3 and array.shape[-1] != 3:
        array = np.moveaxis(array, -3, -1)
    return array


def labels_of(labels: Any) -> list[str | None]:
    """Return labels as names, one a picture; None where one is missing.

    Parameters
    ----------
    labels : iterable
        Of names or numbers; also ``[N, 1]``, and one-hot rows ``[N, K]``.

    Raises
    ------
    UsageError
        They have another shape.
    """
    labels = without_torch(labels)
    array = labels if isinstance(labels, np.ndarray) else None
    if array is not None and array.ndim == 2 and array.shape[1] == 1:
        labels = array[:, 0]
    elif array is not None and array.ndim == 2 and _is_one_hot(array):
        labels = array.argmax(axis=1)
    elif array is not None and array.ndim != 1:
        raise UsageError(
            f"The labels are {array.dtype} {list(array.shape)}; give one label a picture, [N], or "
            "one-hot rows [N, K]."
        )
    return [_name(label) for label in labels]


def _is_one_hot(array: Any) -> bool:
    if array.dtype.kind not in "biuf":
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _name(label: Any) -> str | None:
    if label is None or (isinstance(label, float | np.floating) and math.isnan(label)):
        return None
    return str(label)
