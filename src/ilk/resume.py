"""Resume: what a run folder remembers of how it began, so that it can go on just so."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ilk import recipes
from ilk.data.catalog import Catalog
from ilk.errors import UsageError, listed, shown
from ilk.recipe import Recipe
from ilk.run import readable_errors, write_json

BEGUN = "run.json"
# What may be changed on the way, since it does not change the result.
FREE = {"workers", "cache", "tensorboard", "checkpoint_every", "checkpoint_minutes"}


def begin(folder: Path, data: Any, recipe: Recipe, catalog: Catalog) -> None:
    """Write what a run begins with."""
    clear(folder)
    with readable_errors(folder):
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        catalog.save(folder / "catalog.csv")
        write_json(folder / BEGUN, {"data": _name(data), "finished": False})


def clear(folder: Path) -> None:
    """Remove what an earlier run of the same name left behind and this one may not write."""
    with readable_errors(folder):
        for stale in ("checkpoints", "tensorboard"):
            shutil.rmtree(folder / stale, ignore_errors=True)
        for stale in (BEGUN, "history.csv", "plots/curves.png"):
            (folder / stale).unlink(missing_ok=True)


def finish(folder: Path) -> None:
    """Remember that a run has come to its end, if it was one that can be resumed."""
    if (folder / BEGUN).is_file():
        write_json(folder / BEGUN, {**_begun(folder), "finished": True})


def reopen(
    folder: Path, data: Any, recipe: Recipe | str | Path | None, changes: Mapping[str, Any]
) -> tuple[Any, Recipe]:
    """Return the data and the recipe of a run that was stopped.

    Raises
    ------
    UsageError
        There is no such run, it has ended, its data must be given, or the recipe is another.
    """
    begun = _begun(folder)
    if begun.get("finished"):
        raise UsageError(
            f"The run {shown(folder)} has come to its end; there is nothing to resume. Train again "
            "with more --epochs to go further."
        )
    stored = recipes.load(folder / "recipe.yaml")
    wanted = recipes.load(stored if recipe is None else recipe, **changes)
    for field in Recipe.model_fields:
        before, now = getattr(stored, field), getattr(wanted, field)
        if before != now and field not in FREE:
            raise UsageError(
                f"The run {shown(folder)} began with {field} = {before}, and cannot go on with "
                f"{now}. Drop the change, or begin a new run."
            )
    if data is None and begun.get("data") is None:
        raise UsageError(
            f"The run {shown(folder)} was trained on arrays; give them again to resume it."
        )
    return begun["data"] if data is None else data, wanted


def refuse_other_pictures(folder: Path, catalog: Catalog) -> None:
    """Check that a run goes on with the pictures that it began with.

    Raises
    ------
    UsageError
        One is gone, new, of other content, or in another class or split.
    """
    with (folder / "catalog.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        before = {r["path"]: (r["digest"], r["label"], r["split"])
                  for r in csv.DictReader(file) if not r["left_out"]}  # fmt: skip
    now = {
        os.path.abspath(p.path) if p.content is None else p.path: (p.digest, p.label, p.split)  # noqa: PTH100
        for p in catalog.pictures
    }
    differences = {
        "gone": [path for path in before if path not in now],
        "new": [path for path in now if path not in before],
        "changed": [path for path in now if path in before and now[path] != before[path]],
    }
    said = [f"{what}: {listed(paths, 3)}" for what, paths in differences.items() if paths]
    if said or list(before) != list(now):
        raise UsageError(
            f"The data is not what the run {shown(folder)} began with "
            f"({'; '.join(said) or 'the order of pictures'}). Put it back, or begin a new run."
        )


def _begun(folder: Path) -> dict[str, Any]:
    try:
        begun = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        begun = None
    if not isinstance(begun, dict):
        raise UsageError(
            f"{shown(folder)} is no run that can be resumed. Give the folder of a run of --mode "
            "finetune, scratch or guide; a probe takes seconds, train it again."
        )
    return begun


def _name(data: Any) -> str | None:
    """Return what the data can be opened by again; None if it cannot."""
    if not isinstance(data, str | PathLike):
        return None
    path = Path(data)
    return str(path.absolute()) if path.exists() else str(data)
