"""Train: from labelled pictures to a run folder with a classifier, and what is needed before."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ilk import recipes
from ilk.data.catalog import Catalog
from ilk.data.named import NAMED
from ilk.data.split import evaluation_split
from ilk.errors import IlkError, Interrupted, UsageError
from ilk.evaluation.scored import scored
from ilk.evaluation.writing import remove_report, write_report
from ilk.exporting.calibration_set import keep_pictures
from ilk.folder import new_folder, readable_errors, write_json
from ilk.inference import Records, softmax
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.calibrate import calibrated
from ilk.training.data_warnings import remarks
from ilk.training.distributed import World, joined
from ilk.training.prepare_data import dealt
from ilk.training.resume import (
    abandon,
    begin,
    clear,
    finish,
    move_on,
    refuse_other_pictures,
    refuse_other_setting,
    reopen,
    resumable,
    sweep,
    write_inputs,
)
from ilk.training.run import Run, signed, training_facts
from ilk.training.trained import Trained

if TYPE_CHECKING:
    pass

log = logging.getLogger("ilk")
UNCALIBRATED = (
    "Nothing was held out to make probabilities honest by: take them as they are. Give --val-share "
    "0.1, or of each class two pictures at least."
)


def train(
    data: Any = None,
    recipe: Recipe | str | Path | None = None,
    *,
    name: str | None = None,
    runs: str | PathLike[str] = "runs",
    exist_ok: bool = False,
    resume: str | PathLike[str] | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> Run:
    """Train a classifier, evaluate it on held-out pictures, and write everything to a run folder.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
        A folder, a table, the name of a data set, or arrays; see `ilk.open_catalog`.
    recipe : Recipe, str or Path, optional
        A Recipe, the name of a shipped one, or a YAML file. Default: the one named as the data
        set, if there is one, else the probe.
    name : str, optional
        The run's name; default ``train``, ``train-2``, …
    runs : str or Path
        The folder that holds the runs.
    exist_ok : bool
        Whether to replace what an existing run of that name holds.
    resume : str or Path, optional
        The folder of a run that was stopped. It goes on from its last checkpoint and ends just as
        it would have; ``data`` is needed for arrays only.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.
    **changes
        Fields of `Recipe` to change.

    Returns
    -------
    Run

    Raises
    ------
    IlkError
        One of its kinds; the text says what came, what is allowed and how to mend it.
    """
    began = time.perf_counter()
    if resume is not None:
        if name is not None or exist_ok:
            raise UsageError("--resume goes on in its own folder; drop --name and --exist-ok.")
        data, chosen = reopen(Path(resume), data, recipe, changes, Path(runs))
    elif data is None:
        raise UsageError("Give DATA: a folder, a table or the name of a data set.")
    else:
        chosen = recipes.load(recipe or own_recipe(data, changes), **changes)
    if chosen.weights is not None:  # a run may be resumed from elsewhere
        chosen = chosen.model_copy(update={"weights": chosen.weights.absolute()})
    place = _Place(Path(runs), name, exist_ok, Path(resume) if resume is not None else None)
    with joined(chosen) as world, place.folder(world) as folder:
        progress = progress if world.leads else silent
        catalog = _dealt_once(data, chosen, changes, progress, world)
        noticed = remarks(catalog)
        for remark in noticed if world.leads else ():
            log.warning("%s", remark)
        if chosen.mode == "probe":
            from ilk.training.probe import train_probe

            trained = train_probe(catalog, chosen, progress)
            clear(folder)
        else:
            from ilk.training.modes import checked

            chosen = checked(catalog, chosen, changes, world)
            trained = _by_loop(data, catalog, chosen, folder, resume is not None, progress, world)
        facts = dict(trained.facts)
        facts["remarks"] = [*noticed, *facts.get("remarks", ())]
        seconds = time.perf_counter() - began + facts.pop("earlier_seconds", 0)
        facts["seconds"] = round(seconds, 3)
        with resumable(folder) if chosen.mode != "probe" else nullcontext():
            return _written(folder, trained, chosen, catalog, facts, writes=world.leads)


def own_recipe(data: Any, changes: Mapping[str, Any]) -> str | None:
    """Return the shipped recipe that is named as the data set, if the mode is not another."""
    if not isinstance(data, str) or data not in NAMED or data not in recipes.shipped():
        return None
    own = recipes.load(data)
    return data if changes.get("mode", own.mode) == own.mode else None


@dataclass(frozen=True)
class _Place:
    """Where a run is to lie."""

    runs: Path
    name: str | None
    exist_ok: bool
    resumed: Path | None

    @contextmanager
    def folder(self, world: World) -> Iterator[Path]:
        """Make the folder, if it is not there yet; several processes share one."""
        if self.resumed is not None:
            yield self.resumed
        elif world.leads:
            with new_folder(self.runs, self.name, self.exist_ok) as folder:
                yield world.share(folder)
        else:
            yield world.share(self.runs)


def _dealt_once(
    data: Any, recipe: Recipe, changes: Mapping[str, Any], progress: Progress, world: World
) -> Catalog:
    """Have one process read and deal: each would need the same minutes, and the same disk."""
    catalog = dealt(data, recipe, changes, progress) if world.leads else None
    return cast(Catalog, world.share(catalog))


def _by_loop(
    data: Any,
    catalog: Catalog,
    recipe: Recipe,
    folder: Path,
    resume: bool,
    progress: Progress,
    world: World,
) -> Trained:
    """Train by the loop, in a folder from which the training can be resumed."""
    from ilk.training.modes import setting_of, train_mode

    setting = setting_of(recipe, world)
    if resume:
        refuse_other_pictures(folder, catalog)
        refuse_other_setting(folder, setting)
        if world.leads:
            sweep(folder)
            move_on(folder, data)
    elif world.leads:
        begin(folder, data, recipe, catalog, setting)
    try:
        with resumable(folder):
            return train_mode(catalog, recipe, folder, resume, progress, world)
    except IlkError as error:
        if not resume and world.leads and not isinstance(error, Interrupted):
            abandon(folder)
        raise


def _written(
    folder: Path,
    trained: Trained,
    recipe: Recipe,
    whole: Catalog,
    facts: dict[str, Any],
    writes: bool,
) -> Run:
    """Score a training of the ``whole`` catalog, and write what it yields to its folder."""
    catalog, model = trained.catalog, folder / "model.safetensors"
    split = evaluation_split(catalog)
    bundle = calibrated(trained)
    if not trained.held_out.pictures:
        facts["remarks"] = [*facts.get("remarks", ()), UNCALIBRATED]
    spec, records = bundle.spec, Records.of(bundle)
    evaluation = scored(
        trained.reported.pictures,
        softmax(trained.reported.logits, spec.temperature),
        records.novelty.scores(trained.reported.features, trained.reported.logits)
        if records.novelty
        else np.full(len(trained.reported.logits), np.nan, np.float32),
        spec,
        records,
        model=str(model),
        data=catalog.source,
        split=split,
        scored_on=f"the {split} split",
        left_out=catalog.left_out,
    )
    run = Run(folder, evaluation, catalog, facts)
    if not writes:
        return run
    with readable_errors(folder):
        write_inputs(folder, recipe, catalog)
        bundle = signed(bundle, recipe, catalog, whole, evaluation)
        bundle.save(model)
        keep_pictures(folder, catalog, spec.preprocess)
        write_json(folder / "metrics.json", run.metrics)
        if evaluation:
            told = training_facts(catalog, facts)
            write_report(folder, evaluation, bundle.spec, told, training=True)
        else:
            remove_report(folder)
        finish(folder)
    return run
