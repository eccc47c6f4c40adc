"""ilk turns a folder of labelled pictures into a classifier you can trust and ship.

>>> import ilk
>>> run = ilk.train("photos/")                          # doctest: +SKIP
>>> classifier = ilk.load(run.model)                    # doctest: +SKIP
>>> classifier.predict("holiday.jpg")[0].label          # doctest: +SKIP
'cat'

Importing ilk imports nothing heavy; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Catalog": "ilk.data.catalog",
    "Classifier": "ilk.inference",
    "Evaluation": "ilk.evaluation.result",
    "Findings": "ilk.checking.findings",
    "IlkError": "ilk.errors",
    "Predictions": "ilk.inference",
    "Recipe": "ilk.recipe",
    "Remote": "ilk.inference.remote",
    "Run": "ilk.training.run",
    "Spec": "ilk.spec",
    "benchmark": "ilk.exporting.benchmark",
    "check": "ilk.checking.check",
    "choose_threshold": "ilk.evaluation.thresholds",
    "compare": "ilk.evaluation.compare",
    "evaluate": "ilk.evaluation.evaluate",
    "explain": "ilk.evaluation.explain",
    "export": "ilk.exporting.export",
    "export_fastest": "ilk.exporting.fastest",
    "export_feedback": "ilk.serving.feedback",
    "find_rate": "ilk.training.find_rate",
    "from_arrays": "ilk.data.catalog",
    "load": "ilk.inference.loading",
    "open_catalog": "ilk.data.sources",
    "quarantine": "ilk.checking.quarantine",
    "save_explanations": "ilk.evaluation.explain",
    "serve": "ilk.serving.serve",
    "store_threshold": "ilk.evaluation.thresholds",
    "train": "ilk.training.train",
    "undo_quarantine": "ilk.checking.quarantine",
    "with_threshold": "ilk.evaluation.thresholds",
    "write_catalog": "ilk.checking.write_catalog",
}

__all__ = [
    "Catalog",
    "Classifier",
    "Evaluation",
    "Findings",
    "IlkError",
    "Predictions",
    "Recipe",
    "Remote",
    "Run",
    "Spec",
    "__version__",
    "benchmark",
    "check",
    "choose_threshold",
    "compare",
    "evaluate",
    "explain",
    "export",
    "export_fastest",
    "export_feedback",
    "find_rate",
    "from_arrays",
    "load",
    "open_catalog",
    "quarantine",
    "save_explanations",
    "serve",
    "store_threshold",
    "train",
    "undo_quarantine",
    "with_threshold",
    "write_catalog",
]

if TYPE_CHECKING:
    from ilk.checking.check import check
    from ilk.checking.findings import Findings
    from ilk.checking.quarantine import quarantine, undo_quarantine
    from ilk.checking.write_catalog import write_catalog
    from ilk.data.catalog import Catalog, from_arrays
    from ilk.data.sources import open_catalog
    from ilk.errors import IlkError
    from ilk.evaluation.compare import compare
    from ilk.evaluation.evaluate import evaluate
    from ilk.evaluation.explain import explain, save_explanations
    from ilk.evaluation.result import Evaluation
    from ilk.evaluation.thresholds import (
        choose_threshold,
        store_threshold,
        with_threshold,
    )
    from ilk.exporting.benchmark import benchmark
    from ilk.exporting.export import export
    from ilk.exporting.fastest import export_fastest
    from ilk.inference import Classifier, Predictions
    from ilk.inference.loading import load
    from ilk.inference.remote import Remote
    from ilk.recipe import Recipe
    from ilk.serving.feedback import export_feedback
    from ilk.serving.serve import serve
    from ilk.spec import Spec
    from ilk.training.find_rate import find_rate
    from ilk.training.run import Run
    from ilk.training.train import train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ilk' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
