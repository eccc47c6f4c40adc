"""Run: the folder that a training writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ilk import runtime
from ilk.data.catalog import Catalog
from ilk.data.split import evaluation_split
from ilk.evaluation.result import Evaluation, score
from ilk.evaluation.writing import remove_report, write_model_card, write_report
from ilk.exporting.calibration_set import save_calibration_set
from ilk.folder import readable_errors, write_json
from ilk.inference.classifier import softmax
from ilk.inference.records import Records
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.text import escaped
from ilk.training import resume
from ilk.training.calibrate import calibrated
from ilk.training.result import TrainingFacts, TrainingResult

UNCALIBRATED = (
    "No pictures were held out to calibrate probabilities on, so they are not calibrated. Give "
    "--val-share 0.1, or at least two pictures per class."
)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished training.

    Attributes
    ----------
    folder : Path
        Contains everything that was written.
    evaluation : Evaluation or None
        The scores on the held-out pictures; None if none were held out.
    catalog : Catalog
        Which picture was in which split, and which were left out and why.
    facts : TrainingFacts
        How the training went: the engine, the seconds, the best epoch.
    """

    folder: Path
    evaluation: Evaluation | None
    catalog: Catalog
    facts: TrainingFacts

    def __repr__(self) -> str:
        accuracy = self.evaluation.accuracy if self.evaluation else "nothing held out"
        return f"Run({self.folder}, {accuracy})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        scores = self.evaluation.to_dict() if self.evaluation else {}
        return {**scores, "training": self.facts.to_dict()}

    @property
    def model(self) -> Path:
        """The trained model's file."""
        return self.folder / "model.safetensors"

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.folder / "report.html"


def write_run(
    folder: Path, result: TrainingResult, recipe: Recipe, catalog: Catalog, writes: bool = True
) -> Run:
    """Calibrate and score a trained model, and write the run's files.

    Parameters
    ----------
    catalog : Catalog
        The whole one that was trained on, including pictures that could not be decoded.
    writes : bool
        Whether this process writes: only the main process does.
    """
    bundle, facts = calibrated(result), result.facts
    if not result.held_out.pictures:
        facts = replace(facts, warnings=(*facts.warnings, UNCALIBRATED))
    run = Run(folder, _evaluation(folder, result, bundle), result.catalog, facts)
    if not writes:
        return run
    with readable_errors(folder):
        resume.write_inputs(folder, recipe, run.catalog)
        bundle = _with_provenance(bundle, recipe, run, catalog)
        bundle.save(run.model)
        save_calibration_set(folder, run.catalog, bundle.spec.preprocess)
        write_json(folder / "metrics.json", run.metrics)
        if run.evaluation:
            rows, curves = report_facts(run), folder / "plots" / "curves.png"
            write_report(folder, run.evaluation, bundle.spec, rows, curves=curves)
            write_model_card(folder, run.evaluation, bundle.spec, rows)
        else:
            remove_report(folder)
        resume.mark_finished(folder)
    return run


def _evaluation(folder: Path, result: TrainingResult, bundle: Bundle) -> Evaluation | None:
    """Score the calibrated model on the evaluation split."""
    spec, records, outputs = bundle.spec, Records.of(bundle), result.evaluated
    if not outputs.pictures:
        return None
    split = evaluation_split(result.catalog)
    return score(
        outputs.pictures,
        softmax(outputs.logits, spec.temperature),
        records.novelty.scores(outputs.features, outputs.logits)
        if records.novelty
        else np.full(len(outputs.logits), np.nan, np.float32),
        spec,
        records,
        model=str(folder / "model.safetensors"),
        data=result.catalog.source,
        split=split,
        scored_on=f"the {split} split",
        left_out=result.catalog.left_out,
    )


def _with_provenance(bundle: Bundle, recipe: Recipe, run: Run, catalog: Catalog) -> Bundle:
    """Return the bundle with its provenance: what it was trained on, how, by which versions.

    It also remembers which pictures it has seen: those of ``catalog``, decodable or not.
    """
    machine = {"weights", "not_copies", "device", "workers"}
    provenance = {
        "data": escaped(Path(catalog.source).name),
        "pictures": dict(Counter(p.split for p in run.catalog.pictures)),
        "formats": list(catalog.formats),
        "recipe": {k: v for k, v in recipe.applying().items() if k not in machine},
        "accuracy": run.evaluation.accuracy.to_dict() if run.evaluation else None,
        "versions": runtime.versions(),
    }
    spec = bundle.spec.model_copy(update={"provenance": provenance})
    used = (*catalog.pictures, *run.catalog.pictures)  # the latter knows what was learned from
    return replace(bundle, spec=spec).with_seen({p.digest: p.split or "" for p in used})


def report_facts(run: Run) -> dict[str, str]:
    """Return what the report says about a training, by heading."""
    facts = run.facts
    splits = Counter(p.split for p in run.catalog.pictures)
    rows = {"Pictures": ", ".join(f"{n:,} {split}" for split, n in splits.items())}
    if facts.head:
        rows["Head"] = f"logistic regression, L2 strength {facts.head.regularisation:g}"
    if facts.loop:
        best = f", the best was {facts.loop.best_epoch}" if facts.loop.best_epoch else ""
        rows["Epochs"] = f"{facts.loop.epochs}{best}"
    if facts.choice:
        rows["Kept"] = f"{facts.choice.kept}: {facts.choice.why}"
    if facts.warnings:
        rows["Warnings"] = " ".join(f"{warning.rstrip('.')}." for warning in facts.warnings)
    return rows | {"Engine": facts.engine, "Time": f"{facts.seconds:.1f} s"}
