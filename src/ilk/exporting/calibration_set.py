"""A few pictures kept with a run, so that it can be exported when the data set is gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from ilk.data.catalog import Catalog, Picture
from ilk.data.split import evaluation_split, subsample
from ilk.data.stream import decoded
from ilk.spec import Preprocess

KEPT = "kept"
MOST = 100  # pictures of each split
QUALITY = 92


def save_calibration_set(folder: Path, catalog: Catalog, preprocess: Preprocess) -> None:
    """Write some training and held-out pictures at the network's input size, with a table.

    Exports are calibrated with and verified on them if nothing better is there.
    """
    subfolder = folder / KEPT
    shutil.rmtree(subfolder, ignore_errors=True)  # of an earlier run of the same name
    subfolder.mkdir()
    held_out = evaluation_split(catalog)
    kept: list[Picture] = []
    for split in dict.fromkeys(["train", held_out]):
        pictures = catalog.of(split) if split else ()
        drawn = [pictures[i] for i in subsample(np.arange(len(pictures)), seed=0, most=MOST)]
        kept += _written(subfolder, drawn, preprocess, len(kept))
    replace(catalog, pictures=tuple(kept), left_out=()).save(subfolder / "catalog.csv")


def _written(
    folder: Path, pictures: list[Picture], preprocess: Preprocess, first: int
) -> list[Picture]:
    from simplejpeg import encode_jpeg

    pixels, readable = decoded(pictures, preprocess)
    names = [f"{first + i:04d}.jpg" for i in range(len(readable))]
    for name, image in zip(names, pixels, strict=True):
        encoded = encode_jpeg(image, quality=QUALITY, colorsubsampling="444")
        (folder / name).write_bytes(encoded)
    return [
        # As if in memory, so that the table names it relative to itself.
        replace(pictures[i], path=name, content=b"", columns={}, digest="")
        for i, name in zip(readable, names, strict=True)
    ]
