"""Resume: what a run folder records at the start, so that an interrupted run can continue."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk import recipes
from ilk.data.catalog import Catalog
from ilk.errors import IlkError, Interrupted, UsageError
from ilk.folder import readable_errors, write_json
from ilk.recipe import Recipe
from ilk.runtime import versions, write_whole
from ilk.text import escaped, join_limited
from ilk.training.interrupt import how_to_resume

if TYPE_CHECKING:
    from ilk.training.plan import Plan

log = logging.getLogger("ilk")
RECORD = "run.json"
# Settings that may change when a run is resumed, as they do not affect the result.
CHANGEABLE = {"workers", "cache", "tensorboard", "checkpoint_every", "checkpoint_minutes"}


@contextmanager
def recorded(plan: Plan, data: Any) -> Iterator[None]:
    """Record how a run starts, or check that a resumed one continues as it started.

    If the training fails before it wrote anything, the record is removed.

    Raises
    ------
    UsageError
        The pictures, the processes, the device or the precision differ from the run's start.
    Interrupted
        The user interrupted what comes before or after the training loop.
    """
    folder, main = plan.folder, plan.world.is_main_process
    if plan.resume:
        check_same_pictures(folder, plan.catalog)
        check_same_environment(folder, plan.environment)
        if main:
            remove_partial_files(folder)
            record_data(folder, data)
    elif main:
        record_start(folder, data, plan.recipe, plan.catalog, plan.environment)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {how_to_resume(folder)}") from None
    except IlkError as error:
        if main and not plan.resume and not isinstance(error, Interrupted):
            discard_start(folder)
        raise


def record_start(
    folder: Path, data: Any, recipe: Recipe, catalog: Catalog, environment: Mapping[str, Any]
) -> None:
    """Record what a run starts from; for ``environment`` see `check_same_environment`."""
    clear(folder)
    record = {
        "data": _reopenable(data),
        "pictures": _fingerprint(catalog),
        "setting": dict(environment),
        "versions": versions(),
        "finished": False,
    }
    with readable_errors(folder):
        write_inputs(folder, recipe, catalog)
        write_json(folder / RECORD, record)


def discard_start(folder: Path) -> None:
    """Remove what `record_start` wrote, unless the training has written something since.

    Also beside the model of an earlier run of that name, which these files do not describe.
    """
    traces = ("checkpoints/*.safetensors", "history.csv", "tensorboard")
    if any(any(folder.glob(trace)) for trace in traces):
        return
    clear(folder)
    for file in ("recipe.yaml", "catalog.csv"):
        (folder / file).unlink(missing_ok=True)


def write_inputs(folder: Path, recipe: Recipe, catalog: Catalog) -> None:
    """Write ``recipe.yaml`` and ``catalog.csv``, each completely or not at all."""
    write_whole(folder / "recipe.yaml", recipe.to_yaml().encode())
    catalog.save(folder / "catalog.csv")


def remove_partial_files(folder: Path) -> None:
    """Remove the partly written files that a killed process left behind."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove files of an earlier run of the same name that this one may not overwrite."""
    with readable_errors(folder):
        for stale in (RECORD, "history.csv", "plots/curves.png"):
            (folder / stale).unlink(missing_ok=True)
        for stale in ("checkpoints", "tensorboard"):
            shutil.rmtree(folder / stale, ignore_errors=True)
        remove_partial_files(folder)


def record_data(folder: Path, data: Any) -> None:
    """Record where the pictures are now: they may have moved since the run started."""
    record = _read(folder)
    if _reopenable(data) != record.get("data"):
        write_json(folder / RECORD, {**record, "data": _reopenable(data)})


def mark_finished(folder: Path) -> None:
    """Record that a run has finished, if it could be resumed.

    The checkpoints to resume from are removed; those of epochs, and the best, stay.
    """
    if (folder / RECORD).is_file():
        write_json(folder / RECORD, {**_read(folder), "finished": True})
        for step in (folder / "checkpoints").glob("step-*.safetensors"):
            step.unlink(missing_ok=True)


def reopen(
    folder: Path,
    data: Any,
    recipe: Recipe | str | Path | None,
    changes: Mapping[str, Any],
    runs: Path = Path("runs"),
) -> tuple[Any, Recipe]:
    """Return the data and the recipe of an interrupted run.

    ``runs`` is where the folder may be if only its name was given.

    Raises
    ------
    UsageError
        There is no such run, it has finished, its data must be given, or the recipe differs.
    """
    if not folder.exists():
        there = (runs / folder).is_dir()
        raise UsageError(
            f"--resume: there is no {escaped(folder)}. Give the folder of a run"
            f"{f': {escaped(runs / folder)}' if there else ''}."
        )
    record = _read(folder)
    if record.get("finished"):
        raise UsageError(
            f"The run {escaped(folder)} has finished; there is nothing to resume. To train for "
            "longer, start a new run with more --epochs."
        )
    stored = recipes.load(folder / "recipe.yaml")
    # The mode first: other fields may not apply to another mode.
    _check_same(folder, "mode", stored.mode, changes.get("mode", stored.mode))
    wanted = recipes.load(stored if recipe is None else recipe, **changes)
    for field in (f for f in Recipe.model_fields if f not in CHANGEABLE):
        _check_same(folder, field, getattr(stored, field), getattr(wanted, field))
    if data is not None:
        return data, wanted
    if record.get("data") is None:
        raise UsageError(
            f"The run {escaped(folder)} was trained on arrays; pass them again to resume it."
        )
    sources = record["data"] if isinstance(record["data"], list) else [record["data"]]
    for source in sources:
        if Path(source).is_absolute() and not Path(source).exists():
            raise UsageError(
                f"The pictures of the run {escaped(folder)} are no longer at {escaped(source)}. "
                "Say where they are now: ilk train DATA --resume RUN."
            )
    return record["data"], wanted


def _check_same(folder: Path, field: str, before: Any, now: Any) -> None:
    if before != now:
        raise UsageError(
            f"The run {escaped(folder)} started with {field} = {before} and cannot continue with "
            f"{now}. Drop the change, or start a new run."
        )


def check_same_pictures(folder: Path, catalog: Catalog) -> None:
    """Check that a run continues with the pictures that it started with.

    Raises
    ------
    UsageError
        One is missing, new, of different content, or in another class or split.
    """
    # Not by catalog.csv alone: a run killed at its end may have moved pictures to those left out.
    if _read(folder).get("pictures") == _fingerprint(catalog):
        return
    with (folder / "catalog.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        rows = [row for row in csv.DictReader(file) if not row["left_out"]]
    # Not by splits: if one picture changes, others may be assigned to another.
    before = {row["path"]: (row["digest"], row["label"]) for row in rows}
    now = {p.absolute: (p.digest, p.label or "") for p in catalog.pictures}
    differences = {
        "missing": [path for path in before if path not in now],
        "new": [path for path in now if path not in before],
        "changed": [path for path in now if path in before and now[path] != before[path]],
    }
    named = [f"{what}: {join_limited(paths, 3)}" for what, paths in differences.items() if paths]
    difference = "; ".join(named) or "the order of pictures, or their splits"
    raise UsageError(
        f"The data is not what the run {escaped(folder)} started with ({difference}). "
        "Restore it, or start a new run."
    )


_REMEDIES = {
    "processes": "Start as many: torchrun --nproc-per-node=N -m ilk train --resume RUN.",
    "device": "Resume it on such a device, or start a new run.",
    "precision": "Resume it on a machine with that precision, or start a new run.",
}


def check_same_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Check that a run continues where it can give the same result; warn where it may not.

    Parameters
    ----------
    environment : mapping
        The number of processes, the device, the precision and the threads.

    Raises
    ------
    UsageError
        The processes, the device or the precision differ.
    """
    record = _read(folder)
    before = record.get("setting") or {}
    for what in ("processes", "device", "precision"):
        if before.get(what, environment[what]) != environment[what]:
            raise UsageError(
                f"The run {escaped(folder)} started with {what} = {before[what]}; here it is "
                f"{environment[what]}, so the result would not be bit-identical. {_REMEDIES[what]}"
            )
    now = {"threads": environment["threads"], **versions()}
    then = {"threads": before.get("threads"), **record.get("versions", {})}
    changed = [
        f"{k} {then[k]} then, {now[k]} now" for k in now if then.get(k) not in (None, now[k])
    ]
    if changed:
        log.warning(
            "The run is resumed in another environment than it started in (%s): the result may "
            "not be bit-identical.", "; ".join(changed),
        )  # fmt: skip


def _fingerprint(catalog: Catalog) -> str:
    """Return a digest of all pictures, in order, with their labels and splits.

    Not of their paths: the folder may have moved.
    """
    rows = [(p.digest, p.label, p.split) for p in catalog.pictures]
    return hashlib.blake2b(json.dumps(rows).encode(), digest_size=16).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise UsageError(
            f"{escaped(folder)} is not a run that can be resumed. Give the folder of a run of "
            "--mode finetune, scratch or guide; a probe takes seconds, so train it again."
        )
    return record


def _reopenable(data: Any) -> str | list[str] | None:
    """Return the path or name that opens the data again, or those of several; None for arrays."""
    if isinstance(data, list):
        several = [_reopenable(source) for source in data]
        return [s for s in several if isinstance(s, str)] if all(several) else None
    if not isinstance(data, str | PathLike):
        return None
    path = Path(data)
    return str(path.absolute()) if path.exists() else str(data)
