"""Pictures: which of them an export is calibrated by, and which it is verified on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Pixels
from ilk.data.catalog import Catalog, Picture
from ilk.data.sources import open_catalog
from ilk.data.split import subsample
from ilk.data.stream import decoded
from ilk.errors import DataError, UsageError
from ilk.evaluation.held_out import evaluation_pictures
from ilk.exporting.calibration_set import KEPT
from ilk.exporting.job import FEWEST
from ilk.inference import Seen
from ilk.spec import Spec
from ilk.text import escaped

MOST_VERIFIED = 500
MOST_CALIBRATED = 128


@dataclass(frozen=True, eq=False)
class Pictures:
    """What an export is calibrated by and verified on.

    Attributes
    ----------
    calibrating : uint8 array [M, S, S, 3]
        Of the training split, where there is one; M may be 0.
    pixels : uint8 array [N, S, S, 3]
        Held out from the training, where there are such; N may be 0.
    targets : int64 array [N]
    files : tuple of Picture
        Those of ``pixels``.
    words : str
        Which they are.
    """

    calibrating: Pixels
    pixels: Pixels
    targets: NDArray[np.int64]
    files: tuple[Picture, ...]
    words: str


def pictures_for(
    spec: Spec, seen: Seen, model: Path, data: Any, split: str | None, workers: int | None
) -> Pictures:
    """Choose pictures to calibrate by and to verify on, at most 128 and 500, and decode them.

    Without ``data`` they are those that the model was trained with, as ``model``'s folder names
    them, or, if these have gone, those that its run kept.

    Raises
    ------
    DataError
        There are none.
    """
    catalog = _remembered(model) if data is None else open_catalog(data)
    chosen, _, words = evaluation_pictures(catalog, seen, split, workers)
    index = {label: k for k, label in enumerate(spec.classes)}
    verified = [p for p in chosen.pictures if p.label in index]
    if not verified:
        raise DataError(
            f"{catalog.source} has no picture of the classes that the model knows "
            f"({', '.join(spec.classes[:5])}), and nothing can be verified without one."
        )
    verified = [
        verified[i] for i in subsample(np.arange(len(verified)), seed=0, most=MOST_VERIFIED)
    ]
    paths = {p.path for p in verified}
    rest = [p for p in catalog.pictures if p.path not in paths and p.split in {None, "train"}]
    if len(rest) < FEWEST:
        with contextlib.suppress(UsageError):
            rest = list(_remembered(model).of("train"))
    learned = [rest[i] for i in subsample(np.arange(len(rest)), seed=0, most=MOST_CALIBRATED)]
    pixels, readable = decoded(verified, spec.preprocess, workers=workers)
    if not readable:
        raise DataError(f"None of the pictures of {catalog.source} can be read.")
    files = tuple(verified[i] for i in readable)
    targets = np.array([index[str(p.label)] for p in files], np.int64)
    calibrating, _ = decoded(learned, spec.preprocess, workers=workers)
    if len(readable) < len(chosen.pictures):
        words = f"{len(readable):,} pictures of {words}"
    words = f"{words} of {_named(catalog)}"
    return Pictures(calibrating, pixels, targets, files, words)


def _remembered(model: Path) -> Catalog:
    """Return the pictures of a model's training if all are still there, else those that it kept.

    Raises
    ------
    UsageError
        There are neither.
    """
    for run in (model.parent, model.parent.parent):  # the model may lie in a folder of the run's
        for table in (run / "catalog.csv", run / KEPT / "catalog.csv"):
            with contextlib.suppress(DataError):
                catalog = open_catalog(table) if table.is_file() else None
                if catalog and catalog.unreadable_share == 0:
                    return catalog
    raise UsageError(
        f"Give --data: pictures to verify on. {escaped(model.parent)} has neither those that the "
        "model was trained with nor any that it kept."
    )


def _named(catalog: Catalog) -> str:
    """Say which pictures a catalog holds."""
    source = Path(catalog.source)
    if source.name != "catalog.csv":
        return escaped(source.name)
    kept = "those that its run kept" if source.parent.name == KEPT else "its training's pictures"
    return kept if catalog.splits != ("train",) else f"{kept}, of which none was held out"
