"""Inputs: pictures as Python callers have them, taken as what they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from os import PathLike
from typing import Any

import numpy as np

from ilk.data.catalog import Picture, describe_left_out
from ilk.data.folders import find_pictures
from ilk.data.in_memory import rgb, without_torch
from ilk.errors import DecodeError, IlkError, UsageError
from ilk.text import error_text, escaped, join_limited, pluralize

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

    Returns
    -------
    list of Picture
        Of several, an item that is no picture, or cannot be opened, is one that raises the reason
        when it is read: it does not lose the others.

    Raises
    ------
    UsageError
        Something else was given, alone or as what should hold several.
    DataError
        An array, alone or a batch, is of another type or shape.
    """
    items, is_single = _items(inputs, deep)
    if is_single:
        return [picture for item in items for picture in _pictures(item, 0, deep)]
    found: list[Picture] = []
    images: set[int] = set()
    iterator = iter(items)
    for i in count():
        try:
            item = next(iterator)
        except StopIteration:
            break
        except Exception as error:  # of the caller's code, of any kind
            found.append(_unreadable(i, None, f"could not be produced: {_described(error)}"))
            break
        try:
            _load_if_repeated(item, images)
            found += _pictures(item, i, deep) or [
                _unreadable(i, item, "is a folder without pictures")
            ]
        except Exception as error:  # of the caller's objects, of any kind
            found.append(_unreadable(i, item, _reason(error, i)))
    return found


def _unreadable(index: int, item: Any, reason: str) -> Picture:
    """Return a picture that raises the reason when it is read."""
    return Picture(_name_of(item) or f"picture {index}", content=DecodeError(reason))


def _name_of(item: Any) -> str:
    """Return a path, or the name of an open file; empty if there is none."""
    with suppress(Exception):  # of the caller's objects, of any kind
        name = os.fspath(item) if isinstance(item, str | PathLike) else item.name
        if isinstance(name, str):
            return name
    return ""


def _reason(error: Exception, index: int) -> str:
    """Return an error as it stands after the name of the picture."""
    if isinstance(error, IlkError):
        return str(error).removeprefix(f"Picture {index} ")
    return f"cannot be read: {_described(error)}"


def _described(error: Exception) -> str:
    text = error_text(error)
    name = type(error).__name__
    return text if text == name else f"{name}: {text}"


def _load_if_repeated(item: Any, images: set[int]) -> None:
    """Load a PIL image that is given again: two threads cannot read its file at once."""
    if hasattr(item, "getexif"):
        if id(item) in images:
            item.load()
        images.add(id(item))


def _items(inputs: Any, deep: bool) -> tuple[Iterable[Any], bool]:
    """Return the items of what was given, and whether it is a single one."""
    inputs = without_torch(getattr(inputs, "pictures", inputs))
    if hasattr(inputs, "columns"):  # a DataFrame
        if "path" not in inputs.columns:
            raise UsageError(
                f"The table has the columns {join_limited(map(str, inputs.columns))}; give one "
                "with a column 'path'."
            )
        return list(inputs["path"]), False
    if isinstance(inputs, Mapping):
        raise UsageError(f"The pictures are a {type(inputs).__name__}; give a list.")
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind in "UO":
            return inputs.ravel().tolist(), False
        if inputs.ndim == 4 and len(inputs):
            rgb(inputs[0], 0, deep)  # refuses a batch of another type or shape
        return (inputs, False) if inputs.ndim == 4 else ([inputs], True)
    single = isinstance(inputs, (str, *ENCODED)) or hasattr(inputs, "read")
    if single or not isinstance(inputs, Iterable):
        return [inputs], True
    return inputs, False


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
        if hasattr(item, "seekable") and item.seekable():
            item.seek(0)  # as Pillow does: it was just written, say
        item, name = item.read(), str(getattr(item, "name", name))
    if isinstance(item, ENCODED):
        return Picture(name, content=bytes(item))
    raise UsageError(
        f"Picture {index} is of type {type(item).__name__}; give a path, encoded bytes, a file "
        "opened in binary mode, a PIL image, or a uint8 array [H, W, 3]."
    )
