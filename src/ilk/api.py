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
from ilk.data.catalog import Catalog, Picture
from ilk.data.checks import Findings, remarks, run_checks
from ilk.data.sources import open_catalog
from ilk.data.split import ensure_splits, evaluation_split
from ilk.engines import EngineName, Options, Precision
from ilk.errors import DataError, UsageError
from ilk.evaluation.metrics import Evaluation, score
from ilk.inference import Classifier, Seen, gathered
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
from ilk.spec import SPLITS

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
    from ilk.training.probe import train_probe

    began = time.perf_counter()
    chosen = recipes.load(recipe).override(changes)
    with new_folder(Path(runs), name, exist_ok) as folder:
        catalog = open_catalog(data).digested(chosen.workers)
        catalog.refuse_unreadable(chosen.max_unreadable)
        _refuse_idle_shares(catalog, changes)
        catalog = ensure_splits(
            catalog,
            val_share=chosen.val_share,
            test_share=chosen.test_share,
            seed=chosen.seed,
        )
        dealt = catalog
        trained = train_probe(dealt, chosen, progress)
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
            bundle = signed(trained.bundle, chosen, catalog, dealt, evaluation)
            bundle.save(model)
            facts = {**trained.facts, "seconds": round(time.perf_counter() - began, 3)}
            run = Run(folder, evaluation, catalog, facts)
            write_json(folder / "metrics.json", run.metrics)
            if evaluation:
                write_report(folder, evaluation, bundle.spec, training_facts(catalog, facts))
            else:
                remove_report(folder)
        for remark in remarks(dealt):
            log.warning("%s", remark)
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
    max_unreadable: float = 0.05,
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
        Which pictures. By default those that were held out: the test split, else val. Of data
        without splits of its own, those that the training did not learn from, known by content.
    max_unreadable : float
        Stop if more than this share of files cannot be read.
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
    catalog, chosen = _evaluation_pictures(catalog, classifier.seen, split, workers)
    with progress("scoring pictures", len(catalog)) as tick:
        parts = []
        for part in classifier.stream(catalog.pictures, batch=batch, workers=workers):
            parts.append(part)
            tick(len(part))
    predictions = gathered(parts, classifier.classes)
    rest = catalog.without({predictions.paths[i]: why for i, why in predictions.errors.items()})
    rest.refuse_unreadable(max_unreadable)
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
    assert evaluation is not None  # else there was nothing to read, which is refused above
    return evaluation


def _evaluation_pictures(
    catalog: Catalog, seen: Seen, split: str | None, workers: int | None
) -> tuple[Catalog, str | None]:
    """Return the pictures to score as a catalog, and the name of their split, None for several."""
    if split not in {None, "all", *SPLITS}:
        raise UsageError(f"No split '{split}'; give one of train, val, test, all.")
    if split == "all":
        return catalog, None
    catalog = catalog.digested(workers)
    if catalog.splits in {(), ("train",)}:  # which a training deals out
        pictures, chosen = _not_learned(catalog, seen, split)
    else:
        chosen = split or evaluation_split(catalog) or "train"
        pictures = catalog.of(chosen)
    if not pictures:
        raise DataError(
            f"{catalog.source} has no pictures of the split '{chosen}'; its own splits: "
            f"{', '.join(catalog.splits) or 'none'}. Give another --split, or --split all."
        )
    learned = sum(seen(p.digest) == "train" for p in pictures)
    if learned:
        log.warning(
            "%s of these %s pictures were in the training: the score flatters the model.",
            f"{learned:,}", f"{len(pictures):,}"
        )  # fmt: skip
    gone = tuple(x for x in catalog.left_out if x.split in {chosen, None})
    return replace(catalog, pictures=pictures, left_out=gone), chosen


def _not_learned(
    catalog: Catalog, seen: Seen, split: str | None
) -> tuple[tuple[Picture, ...], str | None]:
    """Return the pictures that a training held out or never saw, and their split if it is one.

    If it learned from all of them, they are what there is.
    """
    known = [seen(p.digest) for p in catalog.pictures]
    strangers = known.count(None)
    wanted: set[str | None]
    if split:
        wanted = {split}
    elif strangers:
        wanted = {None, "val", "test"}
        learned = known.count("train")
        if learned:
            log.warning("Left out %s pictures that were in the training.", f"{learned:,}")
    else:
        wanted = {next((name for name in ("test", "val") if name in known), "train")}
    pictures = tuple(p for p, name in zip(catalog.pictures, known, strict=True) if name in wanted)
    return pictures, split or (None if strangers else wanted.pop())


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
