"""The pictures that an export is calibrated with and verified on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Pixels, Targets
from ilk.data.catalog import Catalog, Picture, class_indices
from ilk.data.sources import open_catalog
from ilk.data.split import subsample
from ilk.data.stream import decoded
from ilk.errors import DataError, UsageError
from ilk.evaluation.held_out import evaluation_pictures
from ilk.exporting.calibration_set import KEPT
from ilk.formats.graphs import MIN_CALIBRATION
from ilk.inference.records import SplitLookup
from ilk.spec import Spec
from ilk.text import escaped

MOST_VERIFIED = 500
MOST_CALIBRATED = 128


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures that an export is calibrated with and verified on.

    Attributes
    ----------
    calibration : uint8 array [M, S, S, 3]
        From the training split if there is one; M may be 0.
    pixels : uint8 array [N, S, S, 3]
        To verify on; held out from the training if any were.
    targets : int64 array [N]
    files : tuple of Picture
        The files of ``pixels``.
    description : str
        Which pictures ``pixels`` are, in words.
    """

    calibration: Pixels
    pixels: Pixels
    targets: Targets
    files: tuple[Picture, ...]
    description: str


def pictures_for(
    spec: Spec,
    split_of: SplitLookup,
    model: Path,
    data: Any,
    split: str | None,
    workers: int | None,
) -> Pictures:
    """Choose and decode pictures: at most 128 to calibrate with, and 500 to verify on.

    Without ``data`` they are the training's, by the table in ``model``'s run folder, or the ones
    that the run kept if those are gone.

    Raises
    ------
    DataError
        There are none.
    """
    catalog = _training_catalog(model) if data is None else open_catalog(data)
    chosen, _, words = evaluation_pictures(catalog, split_of, split, workers)
    verified = [p for p in chosen.pictures if p.label in spec.classes]
    if not verified:
        raise DataError(
            f"{catalog.source} has no pictures of the model's classes "
            f"({', '.join(spec.classes[:5])}); verification needs at least one."
        )
    verified = [
        verified[i] for i in subsample(np.arange(len(verified)), seed=0, most=MOST_VERIFIED)
    ]
    paths = {p.path for p in verified}
    rest = [p for p in catalog.pictures if p.path not in paths and p.split in {None, "train"}]
    if len(rest) < MIN_CALIBRATION:
        with contextlib.suppress(UsageError):
            rest = list(_training_catalog(model).of("train"))
    calibration = [rest[i] for i in subsample(np.arange(len(rest)), seed=0, most=MOST_CALIBRATED)]
    pixels, readable = decoded(verified, spec.preprocess, workers=workers)
    if not readable:
        raise DataError(f"None of the pictures in {catalog.source} can be read.")
    files = tuple(verified[i] for i in readable)
    targets = class_indices(files, spec.classes)
    if len(readable) < len(chosen.pictures):
        words = f"{len(readable):,} pictures of {words}"
    return Pictures(
        decoded(calibration, spec.preprocess, workers=workers)[0],
        pixels,
        targets,
        files,
        f"{words} of {_described(catalog)}",
    )


def _training_catalog(model: Path) -> Catalog:
    """Return the pictures of a model's training if all are still there, else the ones kept.

    Raises
    ------
    UsageError
        There are neither.
    """
    for run in (model.parent, model.parent.parent):  # the model may be in a subfolder of the run
        for table in (run / "catalog.csv", run / KEPT / "catalog.csv"):
            with contextlib.suppress(DataError):
                catalog = open_catalog(table) if table.is_file() else None
                if catalog and catalog.unreadable_share == 0:
                    return catalog
    raise UsageError(
        f"Give --data: pictures to verify on. Neither the training pictures of "
        f"{escaped(model.parent)} nor the ones that its run kept are there."
    )


def _described(catalog: Catalog) -> str:
    source = Path(catalog.source)
    if source.name != "catalog.csv":
        return escaped(source.name)
    kept = source.parent.name == KEPT
    words = "the pictures kept by its run" if kept else "its training's pictures"
    return words if catalog.splits != ("train",) else f"{words} (none held out)"
