"""Run: the folder that a training writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ilk import runtime
from ilk.data.catalog import Catalog
from ilk.evaluation.metrics import Evaluation
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.text import escaped


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
        "data": escaped(Path(catalog.source).name),
        "pictures": dict(Counter(p.split for p in catalog.pictures)),
        "recipe": {k: v for k, v in recipe.applying().items() if k not in machine},
        "accuracy": evaluation.accuracy.to_dict() if evaluation else None,
        "versions": runtime.versions(),
    }
    spec = bundle.spec.model_copy(update={"provenance": provenance})
    return replace(bundle, spec=spec).with_seen({p.digest: p.split or "" for p in dealt.pictures})


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
