"""Run: the folder that a training writes."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ilk import runtime
from ilk.data.catalog import Catalog
from ilk.errors import OutputError, UsageError, counted, shown
from ilk.evaluation.metrics import Evaluation
from ilk.inference import Classifier
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.spec import Spec

PLOTS = ("confusion", "calibration", "corruptions", "curves")  # the last is drawn by a training
RESIZING = {  # for reports
    "squash": "each picture resized to that, whatever its shape",
    "crop": "cut from the middle of each picture",
    "pad": "each picture padded to a square",
}


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished training.

    Attributes
    ----------
    folder : Path
        Where everything lies.
    evaluation : Evaluation or None
        The score on the held-out pictures; None where none were held out.
    catalog : Catalog
        Which picture was in which split, and which were left out and why.
    facts : dict
        How the training went: the engine, the regularisation, the seconds.
    """

    folder: Path
    evaluation: Evaluation | None
    catalog: Catalog
    facts: dict[str, Any]

    def __repr__(self) -> str:
        accuracy = self.evaluation.accuracy if self.evaluation else "nothing held out"
        return f"Run({self.folder}, {accuracy})"

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        return {**(self.evaluation.to_dict() if self.evaluation else {}), "training": self.facts}

    @property
    def model(self) -> Path:
        """The trained model's file."""
        return self.folder / "model.safetensors"

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.folder / "report.html"


@contextmanager
def new_folder(
    parent: Path,
    name: str | None,
    exist_ok: bool,
    default: str = "train",
    flags: tuple[str, str] = ("--name", "--runs"),
) -> Iterator[Path]:
    """Make a run's folder before the work begins; take it away again if the work fails at once.

    ``flags`` are those by which people choose the name and the parent.

    Raises
    ------
    OutputError
        The folder is there already, or cannot be made.
    """
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise UsageError(
            f"{flags[0]} '{shown(name)}' is no folder's name; {flags[1]} says where it lies."
        )
    existed = name is not None and (parent / name).is_dir()
    with readable_errors(parent, flags[1]):
        parent_existed = parent.exists()
        parent.mkdir(parents=True, exist_ok=True)
        if name is None:
            folder = _make_free(parent, default)
        else:
            folder = _make(parent / name, exist_ok, flags[0])
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    try:
        yield folder
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # not empty: there is something to keep
                folder.rmdir()
                if not parent_existed:
                    parent.rmdir()


def _make(folder: Path, exist_ok: bool, flag: str) -> Path:
    if folder.exists() and not (exist_ok and folder.is_dir()):
        raise OutputError(
            f"{shown(folder)} is there already. Choose another {flag}, or pass --exist-ok to "
            "replace what it holds."
        )
    folder.mkdir(exist_ok=True)
    return folder


def _make_free(parent: Path, name: str) -> Path:
    """Make the first of name, name-2, name-3, … that is free, also if others do so meanwhile."""
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there are always more numbers")


@contextmanager
def readable_errors(path: Path, flag: str = "--runs") -> Iterator[None]:
    """Turn an OSError into an OutputError that names where ilk wanted to write."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{shown(path)} cannot be written: {error.strerror}. Choose another place with {flag}."
        ) from None


def write_json(path: Path, record: Any) -> None:
    """Write a record as JSON that people can read too."""
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def signed(
    bundle: Bundle,
    recipe: Recipe,
    catalog: Catalog,
    dealt: Catalog,
    evaluation: Evaluation | None,
) -> Bundle:
    """Return the bundle with its provenance: what it was trained on, how, by which versions.

    It remembers the pictures of ``dealt``: those of ``catalog``, and those that did not decode.
    """
    machine = {"weights", "device", "workers"}
    provenance = {
        "data": shown(Path(catalog.source).name),
        "pictures": dict(Counter(p.split for p in catalog.pictures)),
        "recipe": {k: v for k, v in recipe.applying().items() if k not in machine},
        "accuracy": evaluation.accuracy.to_dict() if evaluation else None,
        "versions": runtime.versions(),
    }
    spec = bundle.spec.model_copy(update={"provenance": provenance})
    return replace(bundle, spec=spec).with_seen({p.digest: p.split or "" for p in dealt.pictures})


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
        "Data": shown(evaluation.data),
        "Scored on": f"{evaluation.scored_on}: {counted(evaluation.n, 'picture')}, "
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


def training_facts(catalog: Catalog, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what a report tells of a training."""
    splits = Counter(p.split for p in catalog.pictures)
    told = {"Pictures": ", ".join(f"{n:,} {split}" for split, n in splits.items())}
    if "regularisation" in facts:
        told["Head"] = f"logistic regression, L2 strength {facts['regularisation']:g}"
    if "epochs" in facts:
        best = f", the best was {facts['best_epoch']}" if facts["best_epoch"] else ""
        told["Epochs"] = f"{facts['epochs']}{best}"
    if "kept" in facts:
        told["Kept"] = f"{facts['kept']}: {facts['why']}"
    if facts.get("remarks"):
        told["Noticed"] = " ".join(f"{remark.rstrip('.')}." for remark in facts["remarks"])
    return told | {"Engine": str(facts["engine"]), "Time": f"{facts['seconds']:.1f} s"}
