"""Inputs: pictures as Python callers have them, taken as what they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from ilk.data.catalog import Picture, describe_left_out
from ilk.data.folders import find_pictures
from ilk.data.in_memory import rgb, without_torch
from ilk.errors import UsageError
from ilk.text import escaped, join_limited, pluralize

log = logging.getLogger("ilk")
ENCODED = (bytes, bytearray, memoryview)


def pictures_of(inputs: Any, deep: bool = False) -> list[Picture]:
    """Return the pictures that were given, one or several; a folder gives all that are in it.

    Parameters
    ----------
    inputs : one or several of str, Path, bytes, binary file, PIL image, uint8 array or tensor
        Several: an iterable, an array of paths, a batch ``[N, H, W, 3]`` (tensors ``[N, 3, H, W]``
        too), a pandas Series of paths, or a DataFrame with a column ``path``.
    deep : bool
        Whether arrays may be of another numeric type.

    Raises
    ------
    UsageError
        Something else was given.
    DataError
        An array is of another type or shape.
    """
    return [
        picture for i, item in enumerate(_items(inputs)) for picture in _pictures(item, i, deep)
    ]


def _items(inputs: Any) -> Iterable[Any]:
    inputs = without_torch(getattr(inputs, "pictures", inputs))
    if hasattr(inputs, "columns"):  # a DataFrame
        if "path" not in inputs.columns:
            raise UsageError(
                f"The table has the columns {join_limited(map(str, inputs.columns))}; give one "
                "with a column 'path'."
            )
        return list(inputs["path"])
    if isinstance(inputs, Mapping):
        raise UsageError(f"The pictures are a {type(inputs).__name__}; give a list.")
    if isinstance(inputs, np.ndarray):
        texts = inputs.dtype.kind in "UO"
        return inputs.ravel().tolist() if texts else inputs if inputs.ndim == 4 else [inputs]
    single = isinstance(inputs, (str, *ENCODED)) or hasattr(inputs, "read")
    return [inputs] if single or not isinstance(inputs, Iterable) else inputs


def _pictures(item: Any, index: int, deep: bool) -> list[Picture]:
    if isinstance(item, str | PathLike) and os.path.isdir(item):  # noqa: PTH112 -- any length of name
        found = find_pictures([os.fspath(item)])
        if found.left_out:
            log.warning(
                "Passed over %s of %s: %s",
                pluralize(len(found.left_out), "file"), escaped(item),
                "; ".join(describe_left_out(found.left_out)),
            )  # fmt: skip
        return list(found.pictures)
    return [_picture(item, index, deep)]


def _picture(item: Any, index: int, deep: bool) -> Picture:
    item = without_torch(item)
    if isinstance(item, Picture):
        return item
    if isinstance(item, str | PathLike):
        return Picture(str(item))
    name = f"picture {index}"
    if isinstance(item, np.ndarray):
        return Picture(name, content=rgb(item, index, deep))
    if hasattr(item, "getexif"):  # a PIL image
        return Picture(name, content=item)
    if hasattr(item, "read"):  # an open file
        item, name = item.read(), str(getattr(item, "name", name))
    if isinstance(item, ENCODED):
        return Picture(name, content=bytes(item))
    raise UsageError(
        f"Picture {index} is a {type(item).__name__}; give a path, encoded bytes, a file opened in "
        "binary mode, a PIL image, or a uint8 array [H, W, 3]."
    )
