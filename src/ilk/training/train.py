"""Train: from labelled pictures to a run folder with a classifier."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ilk import recipes
from ilk.data.limits import pixel_limit
from ilk.data.named import NAMED
from ilk.errors import UsageError
from ilk.folder import new_folder
from ilk.library_warnings import quiet_libraries
from ilk.progress import ProgressOption, progress_of
from ilk.recipe import Recipe
from ilk.runtime import silent
from ilk.training import resume as resuming
from ilk.training.distributed import World, process_group
from ilk.training.prepare_data import data_warnings, prepare_data
from ilk.training.probe import train_probe
from ilk.training.result import TrainingResult
from ilk.training.run import Run, write_run
from ilk.training.starting_model import (
    describe_start,
    settings_of,
    starting_model,
    warnings_of_start,
)

log = logging.getLogger("ilk")


@quiet_libraries()
def train(
    data: Any = None,
    recipe: Recipe | str | Path | None = None,
    *,
    name: str | None = None,
    runs: str | PathLike[str] = "runs",
    exist_ok: bool = False,
    resume: str | PathLike[str] | None = None,
    progress: ProgressOption = None,
    **changes: Any,
) -> Run:
    """Train a classifier, evaluate it on held-out pictures, and write everything to a run folder.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
        A folder, a table, the name of a data set, or arrays; see `ilk.open_catalog`.
    recipe : Recipe, str or Path, optional
        A Recipe, the name of a shipped one, or a YAML file. Default: the one named after the data
        set, if there is one, else the probe.
    name : str, optional
        The run's name; default ``train``, ``train-2``, …
    runs : str or Path
        The folder that holds the runs.
    exist_ok : bool
        Whether to overwrite an existing run of that name.
    resume : str or Path, optional
        The folder of an interrupted run. It continues from its last checkpoint and ends exactly as
        it would have without the interruption; ``data`` is needed for arrays only.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.
    **changes
        Fields of `Recipe` to change.

    Returns
    -------
    Run

    Raises
    ------
    IlkError
        One of its subclasses; the message says what was found, what is allowed and how to fix it.
    """
    start = time.perf_counter()
    if resume is not None:
        if name is not None or exist_ok:
            raise UsageError(
                "--resume continues in the run's own folder; drop --name and --exist-ok."
            )
        resume = Path(resume)
        data, chosen = resuming.reopen(resume, data, recipe, changes, Path(runs))
    elif data is None:
        raise UsageError("Give DATA: a folder, a table or the name of a data set.")
    else:
        chosen = recipe_of(data, recipe, changes)
    started_from = starting_model(chosen)
    if chosen.not_copies is not None:  # a run may be resumed from another directory
        chosen = chosen.model_copy(update={"not_copies": chosen.not_copies.absolute()})

    with (
        pixel_limit(chosen.max_pixels),
        process_group(chosen) as world,
        _run_folder(resume, runs, name, exist_ok, world) as folder,
    ):
        shown = progress_of(progress) if world.is_main_process else silent
        catalog = world.broadcast(lambda: prepare_data(data, chosen, changes, shown))
        warnings = data_warnings(catalog) if world.is_main_process else []
        if started_from and chosen.weights:
            log.info("%s", describe_start(started_from, chosen.weights, catalog.classes))
            warnings += warnings_of_start(started_from, chosen.weights, chosen, catalog)
        for warning in warnings:
            log.warning("%s", warning)

        def finish(result: TrainingResult, recipe: Recipe) -> Run:
            seconds = round(time.perf_counter() - start + result.facts.seconds, 3)
            warned = (*warnings, *result.facts.warnings)
            facts = replace(result.facts, seconds=seconds, warnings=warned)
            result = replace(result, facts=facts)
            with shown("evaluating and writing the report", 0):
                return write_run(folder, result, recipe, catalog, writes=world.is_main_process)

        if chosen.mode == "probe":
            result = train_probe(catalog, chosen, shown)
            resuming.clear(folder)
            return finish(result, chosen)

        from ilk.training.modes import run  # imports torch, which takes over a second
        from ilk.training.plan import prepare

        plan = prepare(chosen, catalog, folder, changes, resume is not None, world, shown)
        with resuming.recorded(plan, data):
            return finish(run(plan), plan.recipe)


def recipe_of(data: Any, recipe: Recipe | str | Path | None, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe to train with, by default the shipped one named after the data set.

    What a model in ``weights`` decides, such as the backbone, is filled in.
    """
    if recipe is None and _is_named(data) and data in recipes.shipped():
        mode = recipes.load(data).mode
        if changes.get("mode", mode) == mode:
            recipe = data
    chosen = recipes.load(recipe, **changes)
    if chosen.weights is None:
        return chosen
    given = recipes.fields_given(recipe, dict(changes))
    followed = settings_of(chosen.weights, chosen, given)
    return recipes.load(recipe, **{**changes, **followed})


def _is_named(data: Any) -> bool:
    """Return whether the data is a named data set; a file or folder of that name comes first."""
    return isinstance(data, str) and data in NAMED and not Path(data).exists()


@contextmanager
def _run_folder(
    resumed: Path | None, runs: str | PathLike[str], name: str | None, exist_ok: bool, world: World
) -> Iterator[Path]:
    """Create the run's folder in the main process, unless the run is resumed."""
    if resumed is not None:
        yield resumed
    elif world.is_main_process:
        with new_folder(Path(runs), name, exist_ok) as folder:
            yield world.broadcast(lambda: folder)
    else:
        yield world.broadcast(lambda: Path(runs))
