"""Resume: what a run folder remembers of how it began, so that it can go on just so."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ilk import recipes
from ilk.data.catalog import Catalog, Picture
from ilk.errors import Interrupted, UsageError
from ilk.folder import readable_errors
from ilk.recipe import Recipe
from ilk.runtime import versions, write_whole
from ilk.text import escaped, join_limited
from ilk.training.interrupt import how_to_go_on

log = logging.getLogger("ilk")
BEGUN = "run.json"
# What may be changed on the way, since it does not change the result.
FREE = {"workers", "cache", "tensorboard", "checkpoint_every", "checkpoint_minutes"}


def begin(
    folder: Path, data: Any, recipe: Recipe, catalog: Catalog, setting: Mapping[str, Any]
) -> None:
    """Write what a run begins with; for ``setting`` see `refuse_other_setting`."""
    clear(folder)
    begun = {
        "data": _name(data),
        "pictures": _fingerprint(catalog),
        "setting": dict(setting),
        "versions": versions(),
        "finished": False,
    }
    with readable_errors(folder):
        write_inputs(folder, recipe, catalog)
        _remember(folder, begun)


def abandon(folder: Path) -> None:
    """Remove what `begin` wrote, if nothing has come of it yet.

    Also beside the model of an earlier run of that name, which it does not describe.
    """
    traces = ("checkpoints/*.safetensors", "history.csv", "tensorboard")
    if any(any(folder.glob(trace)) for trace in traces):
        return
    clear(folder)
    for file in ("recipe.yaml", "catalog.csv"):
        (folder / file).unlink(missing_ok=True)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say how to go on when someone interrupts what comes before and after the training loop.

    Raises
    ------
    Interrupted
        Someone does.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {how_to_go_on(folder)}") from None


def write_inputs(folder: Path, recipe: Recipe, catalog: Catalog) -> None:
    """Write ``recipe.yaml`` and ``catalog.csv``, each of them whole or as it was before."""
    write_whole(folder / "recipe.yaml", recipe.to_yaml().encode())
    part = folder / ".catalog.csv.part"
    catalog.save(part)
    part.replace(folder / "catalog.csv")


def sweep(folder: Path) -> None:
    """Remove the half-written files that a process left behind when it was killed."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what an earlier run of the same name left behind and this one may not write."""
    with readable_errors(folder):
        for stale in (BEGUN, "history.csv", "plots/curves.png"):
            (folder / stale).unlink(missing_ok=True)
        for stale in ("checkpoints", "tensorboard"):
            shutil.rmtree(folder / stale, ignore_errors=True)
        sweep(folder)


def move_on(folder: Path, data: Any) -> None:
    """Remember where the pictures are now: they may have moved since the run began."""
    begun = _begun(folder)
    if _name(data) != begun.get("data"):
        _remember(folder, {**begun, "data": _name(data)})


def finish(folder: Path) -> None:
    """Remember that a run has come to its end, if it was one that can be resumed.

    The checkpoints to resume from go; those of epochs, and the best, stay.
    """
    if (folder / BEGUN).is_file():
        _remember(folder, {**_begun(folder), "finished": True})
        for step in (folder / "checkpoints").glob("step-*.safetensors"):
            step.unlink(missing_ok=True)


def reopen(
    folder: Path,
    data: Any,
    recipe: Recipe | str | Path | None,
    changes: Mapping[str, Any],
    runs: Path = Path("runs"),
) -> tuple[Any, Recipe]:
    """Return the data and the recipe of a run that was stopped.

    ``runs`` is where the folder may lie if someone gave its name alone.

    Raises
    ------
    UsageError
        There is no such run, it has ended, its data must be given, or the recipe is another.
    """
    if not folder.exists() and (runs / folder).is_dir():
        raise UsageError(f"--resume takes a run's folder: give {escaped(runs / folder)}.")
    if not folder.exists():
        raise UsageError(f"--resume: there is no {escaped(folder)}. Give the folder of a run.")
    begun = _begun(folder)
    if begun.get("finished"):
        raise UsageError(
            f"The run {escaped(folder)} has come to its end; there is nothing to resume. Train "
            "again with more --epochs to go further."
        )
    stored = recipes.load(folder / "recipe.yaml")
    # The mode first: to another one, other fields may not apply.
    _refuse_change(folder, "mode", stored.mode, changes.get("mode", stored.mode))
    wanted = recipes.load(stored if recipe is None else recipe, **changes)
    for field in (f for f in Recipe.model_fields if f not in FREE):
        _refuse_change(folder, field, getattr(stored, field), getattr(wanted, field))
    if data is None and begun.get("data") is None:
        raise UsageError(
            f"The run {escaped(folder)} was trained on arrays; give them again to resume it."
        )
    if data is None and Path(begun["data"]).is_absolute() and not Path(begun["data"]).exists():
        raise UsageError(
            f"The pictures of the run {escaped(folder)} are no longer at {escaped(begun['data'])}. "
            "Say where they are now: ilk train DATA --resume RUN."
        )
    return begun["data"] if data is None else data, wanted


def _refuse_change(folder: Path, field: str, before: Any, now: Any) -> None:
    if before != now:
        raise UsageError(
            f"The run {escaped(folder)} began with {field} = {before}, and cannot go on with "
            f"{now}. Drop the change, or begin a new run."
        )


def refuse_other_pictures(folder: Path, catalog: Catalog) -> None:
    """Check that a run goes on with the pictures that it began with.

    Raises
    ------
    UsageError
        One is gone, new, of other content, or in another class or split.
    """
    # Not catalog.csv: at its end, a run that was killed may have moved pictures to those left out.
    if _begun(folder).get("pictures") == _fingerprint(catalog):
        return
    with (folder / "catalog.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        rows = [row for row in csv.DictReader(file) if not row["left_out"]]
    # Not the splits: if one picture changes, others may be dealt out to another.
    before = {row["path"]: (row["digest"], row["label"]) for row in rows}
    now = {_lasting(p): (p.digest, p.label or "") for p in catalog.pictures}
    differences = {
        "gone": [path for path in before if path not in now],
        "new": [path for path in now if path not in before],
        "changed": [path for path in now if path in before and now[path] != before[path]],
    }
    said = [f"{what}: {join_limited(paths, 3)}" for what, paths in differences.items() if paths]
    difference = "; ".join(said) or "the order of pictures, or their splits"
    raise UsageError(
        f"The data is not what the run {escaped(folder)} began with ({difference}). "
        "Put it back, or begin a new run."
    )


_REMEDIES = {
    "processes": "Start as many: torchrun --nproc-per-node=N -m ilk train --resume RUN.",
    "device": "Go on with such a device, or begin a new run.",
    "precision": "Go on where that precision is to be had, or begin a new run.",
}


def refuse_other_setting(folder: Path, setting: Mapping[str, Any]) -> None:
    """Check that a run goes on as it began; warn where it may end in other bits.

    Parameters
    ----------
    folder : Path
    setting : mapping
        The number of processes, the device, the precision and the threads.

    Raises
    ------
    UsageError
        The processes, the device or the precision are others.
    """
    begun = _begun(folder)
    before = begun.get("setting") or {}
    for what in ("processes", "device", "precision"):
        if before.get(what, setting[what]) != setting[what]:
            raise UsageError(
                f"The run {escaped(folder)} began with {what} = {before[what]}; here it is "
                f"{setting[what]}, with which it would not end in the same bits. {_REMEDIES[what]}"
            )
    now = {"threads": setting["threads"], **versions()}
    then = {"threads": before.get("threads"), **begun.get("versions", {})}
    others = [f"{k} {then[k]} then, {now[k]} now" for k in now if then.get(k) not in (None, now[k])]
    if others:
        log.warning(
            "The run goes on with others than it began with (%s): it may not end in the same bits.",
            "; ".join(others),
        )


def _fingerprint(catalog: Catalog) -> str:
    """Return a digest of all pictures, in order, with their labels and splits.

    Not of their paths: the folder may have moved.
    """
    rows = [(p.digest, p.label, p.split) for p in catalog.pictures]
    return hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()


def _lasting(picture: Picture) -> str:
    """Return a picture's path as ``catalog.csv`` has it: it may be asked for from elsewhere."""
    return os.path.abspath(picture.path) if picture.content is None else picture.path  # noqa: PTH100


def _remember(folder: Path, begun: Mapping[str, Any]) -> None:
    write_whole(folder / BEGUN, json.dumps(begun, indent=2).encode())


def _begun(folder: Path) -> dict[str, Any]:
    try:
        begun = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        begun = None
    if not isinstance(begun, dict):
        raise UsageError(
            f"{escaped(folder)} is no run that can be resumed. Give the folder of a run of --mode "
            "finetune, scratch or guide; a probe takes seconds, train it again."
        )
    return begun


def _name(data: Any) -> str | None:
    """Return what the data can be opened by again; None if it cannot."""
    if not isinstance(data, str | PathLike):
        return None
    path = Path(data)
    return str(path.absolute()) if path.exists() else str(data)
