"""Writing: metrics.json, plots, report, model card and table of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ilk import runtime
from ilk.evaluation.result import Evaluation
from ilk.folder import readable_errors, write_csv, write_json
from ilk.inference.classifier import Classifier
from ilk.spec import Spec
from ilk.text import escaped

PLOTS = ("confusion", "calibration", "corruptions")
RESIZING = {  # for reports
    "squash": "resized without keeping the aspect ratio",
    "crop": "centre crop",
    "pad": "padded to a square",
}


def write_evaluation(
    folder: Path, evaluation: Evaluation, classifier: Classifier, overlays: Mapping[str, str]
) -> None:
    """Write ``metrics.json``, the plots, the report and the table of an evaluation.

    ``overlays`` are as for `write_report`.
    """
    with readable_errors(folder):
        write_json(folder / "metrics.json", evaluation.to_dict())
        facts = {"Engine": classifier.engine.name}
        write_report(folder, evaluation, classifier.spec, facts, overlays=overlays)


def write_report(
    folder: Path,
    evaluation: Evaluation,
    spec: Spec,
    facts: Mapping[str, str],
    *,
    overlays: Mapping[str, str] | None = None,
    curves: Path | None = None,
) -> None:
    """Draw the plots, and write the report and the table of predictions.

    Parameters
    ----------
    folder : Path
        Where they go.
    spec : Spec
        Of the model.
    facts : mapping of str to str
        Further rows of the table at the report's end.
    overlays : mapping of str to str, optional
        Pictures with heat maps as data URIs, by the path of the picture.
    curves : Path, optional
        The plot of a training's curves.
    """
    from ilk.evaluation import plots, report

    drawn = {name: folder / "plots" / f"{name}.png" for name in PLOTS}
    for plot in drawn.values():  # by an earlier run of the same name
        plot.unlink(missing_ok=True)
    plots.save_figure(plots.draw_confusion(evaluation), drawn["confusion"])
    plots.save_figure(plots.draw_calibration(evaluation.confidence), drawn["calibration"])
    if evaluation.corruptions:
        plots.save_figure(plots.draw_corruptions(evaluation.corruptions), drawn["corruptions"])
    report.write(
        folder / "report.html",
        evaluation,
        title=f"{folder.name}: {Path(evaluation.data).name}",
        facts=_facts(evaluation, spec, facts),
        plots=drawn | ({"curves": curves} if curves else {}),
        conversion=spec.preprocess.conversion,
        overlays=overlays,
    )
    _write_predictions(folder / "predictions.csv", evaluation, spec)


def write_model_card(
    folder: Path, evaluation: Evaluation, spec: Spec, facts: Mapping[str, str]
) -> None:
    """Write the model card of a training; ``facts`` are as for `write_report`."""
    from ilk.evaluation import card

    card.write(folder / "model_card.md", evaluation, spec, _facts(evaluation, spec, facts))


def _facts(evaluation: Evaluation, spec: Spec, facts: Mapping[str, str]) -> dict[str, str]:
    side = spec.preprocess.imgsz
    return {
        "Data": escaped(evaluation.data),
        "Scored on": f"{evaluation.scored_on}: {evaluation.counted}, "
        f"{len(evaluation.left_out):,} left out",
        "Backbone": f"{spec.backbone.name}, weights from {spec.backbone.weights}",
        "Input": f"{side} x {side} pixels, {RESIZING[spec.preprocess.resize]}",
        **_conversion(spec),
        "Temperature": f"{spec.temperature:.3f}",
        **facts,
        "Versions": ", ".join(f"{k} {v}" for k, v in runtime.versions().items()),
    }


def _conversion(spec: Spec) -> dict[str, str]:
    """Return what is said about pictures of many bits or channels, if the model reads such."""
    span, channels = spec.preprocess.conversion.range, spec.preprocess.conversion.channels
    said = {}
    if span:
        said["Values"] = f"{span[0]:g} to {span[1]:g} become 0 to 255, of more than 8 bits"
    if channels:
        said["Channels"] = ", ".join(map(str, channels))
    return said


def _write_predictions(path: Path, evaluation: Evaluation, spec: Spec) -> None:
    """Write ``path,label,predicted,probability,right,accepted,unknown``, one row per picture."""
    accept = spec.thresholds.get("accept", 0.0)
    unusual = spec.novelty.threshold if spec.novelty else math.inf
    predicted = evaluation.probabilities.argmax(axis=1)
    confidence = evaluation.probabilities.max(axis=1)
    rows = []
    for i, picture in enumerate(evaluation.pictures):
        novelty = evaluation.novelty[i]
        rows.append(
            (
                picture.absolute,
                picture.label,
                evaluation.classes[predicted[i]],
                f"{confidence[i]:.6f}",
                str(evaluation.right[i]).lower(),
                str(confidence[i] >= accept).lower(),
                "" if np.isnan(novelty) else str(novelty > unusual).lower(),
            )
        )
    header = ("path", "label", "predicted", "probability", "right", "accepted", "unknown")
    write_csv(path, header, rows)


def remove_report(folder: Path) -> None:
    """Remove the report that an earlier run of the same name wrote."""
    plots = (f"plots/{name}.png" for name in PLOTS)
    for name in ("report.html", "predictions.csv", "model_card.md", *plots):
        (folder / name).unlink(missing_ok=True)
