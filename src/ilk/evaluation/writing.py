"""Writing: the files of an evaluation: metrics.json, plots, report and table of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ilk import runtime
from ilk.evaluation.metrics import Evaluation
from ilk.folder import readable_errors, write_json
from ilk.inference import Classifier
from ilk.spec import Spec
from ilk.text import escaped, pluralize

PLOTS = ("confusion", "calibration", "corruptions", "curves")  # the last is drawn by a training
RESIZING = {  # for reports
    "squash": "each picture resized to that, whatever its shape",
    "crop": "cut from the middle of each picture",
    "pad": "each picture padded to a square",
}


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    classifier: Classifier,
    overlays: Mapping[str, str] | None = None,
) -> None:
    """Write ``metrics.json``, the plots and the report of an evaluation.

    ``overlays`` are pictures, by path, with what spoke for the answer: see `write_report`.
    """
    with readable_errors(folder):
        write_json(folder / "metrics.json", evaluation.to_dict())
        facts = {"Engine": classifier.engine.name}
        write_report(folder, evaluation, classifier.spec, facts, overlays)


def write_report(
    folder: Path,
    evaluation: Evaluation,
    spec: Spec,
    facts: Mapping[str, str],
    overlays: Mapping[str, str] | None = None,
    training: bool = False,
) -> None:
    """Draw the plots, and write the report and the table of predictions.

    ``facts`` are told beside the usual ones. Of a ``training``, its curves are shown and a model
    card is written.
    """
    from ilk.evaluation import card as model_card
    from ilk.evaluation import plots, report, table

    drawn = {name: folder / "plots" / f"{name}.png" for name in PLOTS}
    for name in PLOTS[:3]:  # what an earlier run of the same name drew
        drawn[name].unlink(missing_ok=True)
    plots.confusion_heatmap(evaluation, drawn["confusion"])
    if evaluation.confidence:
        plots.calibration(evaluation.confidence, drawn["calibration"])
    if evaluation.corruptions:
        plots.corruptions(evaluation.corruptions, drawn["corruptions"])
    side = spec.preprocess.imgsz
    told = {
        "Data": escaped(evaluation.data),
        "Scored on": f"{evaluation.scored_on}: {pluralize(evaluation.n, 'picture')}, "
        f"{len(evaluation.left_out):,} left out",
        "Backbone": f"{spec.backbone.name}, weights from {spec.backbone.weights}",
        "Input": f"{side} x {side} pixels, {RESIZING[spec.preprocess.resize]}",
        "Temperature": f"{spec.temperature:.3f}",
        **facts,
        "Versions": ", ".join(f"{k} {v}" for k, v in runtime.versions().items()),
    }
    report.write(
        folder / "report.html",
        evaluation,
        title=f"{folder.name}: {Path(evaluation.data).name}",
        facts=told,
        plots=drawn if training else {k: v for k, v in drawn.items() if k != "curves"},
        overlays=overlays,
    )
    strange = spec.novelty.threshold if spec.novelty else math.inf
    accept = spec.thresholds.get("accept", 0.0)
    table.write(folder / "predictions.csv", evaluation, accept, strange)
    if training:
        model_card.write(folder / "model_card.md", evaluation, spec, told)


def remove_report(folder: Path) -> None:
    """Remove the report that an earlier run of the same name wrote: it tells of another model."""
    for name in (
        "report.html",
        "predictions.csv",
        "model_card.md",
        *(f"plots/{name}.png" for name in PLOTS[:3]),
    ):
        (folder / name).unlink(missing_ok=True)
