"""The public functions. Each reads like the sentence it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk import recipe as recipes
from ilk.data.catalog import SPLITS, Catalog, Picture
from ilk.data.checks import Findings, run_checks
from ilk.data.sources import open_catalog
from ilk.data.split import ensure_splits, evaluation_split
from ilk.engines import EngineName, Options, Precision
from ilk.errors import DataError, UsageError
from ilk.evaluation.metrics import Evaluation, score
from ilk.inference import Classifier, gathered
from ilk.inference import load as load_classifier
from ilk.recipe import Recipe
from ilk.run import (
    Run,
    new_folder,
    readable_errors,
    remove_report,
    signed,
    training_facts,
    write_json,
    write_report,
)
from ilk.runtime import Progress, silent
from ilk.spec import Spec

log = logging.getLogger("ilk")


def train(
    data: Any,
    recipe: Recipe | str | Path | None = None,
    *,
    name: str | None = None,
    runs: str | PathLike[str] = "runs",
    exist_ok: bool = False,
    progress: Progress = silent,
    **changes: Any,
) -> Run:
    """Train a classifier, evaluate it on held-out pictures, and write everything to a run folder.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
        A folder, a table, the name of a data set, or arrays; see `ilk.open_catalog`.
    recipe : Recipe, str or Path, optional
        A Recipe, the name of a shipped one, or a YAML file.
    name : str, optional
        The run's name; default ``train``, ``train-2``, …
    runs : str or Path
        The folder that holds the runs.
    exist_ok : bool
        Whether to replace what an existing run of that name holds.
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
    from ilk.training.probe import refuse_unreadable, train_probe

    began = time.perf_counter()
    chosen = recipes.load(recipe).override(changes)
    with new_folder(Path(runs), name, exist_ok) as folder:
        catalog = open_catalog(data).digested(chosen.workers)
        refuse_unreadable(catalog, chosen.max_unreadable)
        _refuse_idle_shares(catalog, changes)
        catalog = ensure_splits(
            catalog,
            val_share=chosen.val_share,
            test_share=chosen.test_share,
            seed=chosen.seed,
        )
        data_digest = catalog.digest
        trained = train_probe(catalog, chosen, progress)
        catalog = trained.catalog
        model = folder / "model.safetensors"
        evaluation = _scored(
            catalog.of(evaluation_split(catalog) or ""),
            trained.logits,
            trained.bundle.spec.classes,
            model=str(model),
            data=catalog.source,
            split=evaluation_split(catalog),
            left_out=catalog.left_out,
        )
        with readable_errors(folder):
            (folder / "recipe.yaml").write_text(chosen.to_yaml(), encoding="utf-8")
            catalog.save(folder / "catalog.csv")
            bundle = signed(trained.bundle, chosen, catalog, data_digest, evaluation)
            bundle.save(model)
            facts = {**trained.facts, "seconds": round(time.perf_counter() - began, 3)}
            run = Run(folder, evaluation, catalog, facts)
            write_json(folder / "metrics.json", run.metrics)
            if evaluation:
                write_report(folder, evaluation, bundle.spec, training_facts(catalog, facts))
            else:
                remove_report(folder)
    return run


def _refuse_idle_shares(catalog: Catalog, changes: dict[str, Any]) -> None:
    """Refuse shares asked for by name where the data's own splits leave nothing to deal out."""
    idle = [key for key in ("val_share", "test_share") if key in changes]
    if idle and len(catalog.splits) > 1:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} does not apply: {catalog.source} has splits of its own "
            f"({', '.join(catalog.splits)})."
        )


def load(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
) -> Classifier:
    """Load a trained model.

    Parameters
    ----------
    path : str or Path
        A ``model.safetensors``, or the run folder that holds it.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    engine : {"auto", "openvino", "pytorch"}
        ``auto``: OpenVINO on a CPU, else PyTorch.
    precision : {"auto", "fp32", "bf16"}
        ``auto``: bf16 where the processor has it.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelError
        The file is not there, damaged, foreign, or of a newer version.
    """
    return load_classifier(path, Options(device, engine, precision))


def evaluate(
    model: Classifier | str | PathLike[str],
    data: Any,
    *,
    split: str | None = None,
    batch: int = 32,
    workers: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Score a classifier on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model : Classifier, str or Path
    data : str, Path, Catalog, or tuple (images, labels)
    split : {"train", "val", "test", "all"}, optional
        Which pictures. By default those that were held out: the test split, else val. Data without
        splits of its own is dealt out as it was for the training, if it is the same data; of other
        data, all pictures are taken.
    batch, workers : int
        Pictures in a batch, and decoding threads.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.

    Raises
    ------
    DataError
        The data has no such split, or no class that the model knows.
    """
    classifier = model if isinstance(model, Classifier) else load(model)
    catalog = open_catalog(data)
    catalog, chosen = _evaluation_pictures(catalog, classifier.spec, split, workers)
    with progress("scoring pictures", len(catalog)) as tick:
        parts = []
        for part in classifier.stream(catalog.pictures, batch=batch, workers=workers):
            parts.append(part)
            tick(len(part))
    predictions = gathered(parts, classifier.classes)
    rest = catalog.without({predictions.paths[i]: why for i, why in predictions.errors.items()})
    kept = [i for i in range(len(predictions)) if i not in predictions.errors]
    evaluation = _scored(
        rest.pictures,
        predictions.probabilities[kept],
        classifier.classes,
        model=classifier.source,
        data=catalog.source,
        split=chosen,
        left_out=rest.left_out,
    )
    if evaluation is None:
        raise DataError(f"None of the {len(catalog):,} pictures of {catalog.source} can be read.")
    return evaluation


def _evaluation_pictures(
    catalog: Catalog, spec: Spec, split: str | None, workers: int | None
) -> tuple[Catalog, str | None]:
    """Return the pictures to score as a catalog, and the name of their split, None for all."""
    if split not in {None, "all", *SPLITS}:
        raise UsageError(f"No split '{split}'; give one of train, val, test, all.")
    if split == "all":
        return catalog, None
    if catalog.splits in {(), ("train",)}:  # which a training deals out
        catalog = catalog.digested(workers)
        dealing = spec.dealing
        same = catalog.digest == spec.provenance.get("data_digest")
        if dealing and (same or (split and not catalog.splits)):
            if not same:
                log.warning(
                    "%s is not, or no longer, what this model was trained on: the '%s' split dealt "
                    "from it may hold pictures from training.", catalog.source, split
                )  # fmt: skip
            catalog = ensure_splits(catalog, **dealing.model_dump())
        elif not catalog.splits:
            if split is None:
                return catalog, None
            raise DataError(f"{catalog.source} has no splits, and the model's data had its own.")
    chosen = split or evaluation_split(catalog) or "train"
    if chosen == "train":
        log.warning("These are the pictures that the model was trained on: the score flatters it.")
    if chosen not in catalog.splits:
        raise DataError(
            f"{catalog.source} has no split '{chosen}'; it has {', '.join(catalog.splits)}."
        )
    gone = tuple(x for x in catalog.left_out if x.split in {chosen, None})
    return replace(catalog, pictures=catalog.of(chosen), left_out=gone), chosen


def _scored(
    pictures: Sequence[Picture],
    scores: NDArray[np.float32],
    classes: tuple[str, ...],
    **context: Any,
) -> Evaluation | None:
    """Score pictures by their highest logit or probability; None if there are no pictures."""
    if not pictures:
        return None
    labels = [p.label or "" for p in pictures]
    return replace(score(labels, scores.argmax(axis=1), classes), **context)


def check(data: Any, *, workers: int | None = None, progress: Progress = silent) -> Findings:
    """Read every picture once, and say what is wrong with the data.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
    workers : int, optional
        Decoding threads; default one a core.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.
    """
    return run_checks(open_catalog(data), workers, progress)
