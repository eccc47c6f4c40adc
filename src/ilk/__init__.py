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
    "Classifier": "ilk.inference.classifier",
    "Evaluation": "ilk.evaluation.result",
    "Findings": "ilk.checking.findings.records",
    "IlkError": "ilk.errors",
    "Predictions": "ilk.inference.predictions",
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
    "from_arrays": "ilk.data.in_memory",
    "load": "ilk.inference.classifier",
    "open_catalog": "ilk.data.sources",
    "quarantine": "ilk.checking.quarantine.move",
    "save_explanations": "ilk.evaluation.explain",
    "serve": "ilk.serving.serve",
    "store_threshold": "ilk.evaluation.thresholds",
    "train": "ilk.training.train",
    "undo_quarantine": "ilk.checking.quarantine.undo",
    "with_threshold": "ilk.evaluation.thresholds",
    "write_catalog": "ilk.checking.write_catalog",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 -- the names are texts

if TYPE_CHECKING:
    from ilk.checking.check import check as check
    from ilk.checking.findings.records import Findings as Findings
    from ilk.checking.quarantine.move import quarantine as quarantine
    from ilk.checking.quarantine.undo import undo_quarantine as undo_quarantine
    from ilk.checking.write_catalog import write_catalog as write_catalog
    from ilk.data.catalog import Catalog as Catalog
    from ilk.data.in_memory import from_arrays as from_arrays
    from ilk.data.sources import open_catalog as open_catalog
    from ilk.errors import IlkError as IlkError
    from ilk.evaluation.compare import compare as compare
    from ilk.evaluation.evaluate import evaluate as evaluate
    from ilk.evaluation.explain import explain as explain
    from ilk.evaluation.explain import save_explanations as save_explanations
    from ilk.evaluation.result import Evaluation as Evaluation
    from ilk.evaluation.thresholds import choose_threshold as choose_threshold
    from ilk.evaluation.thresholds import store_threshold as store_threshold
    from ilk.evaluation.thresholds import with_threshold as with_threshold
    from ilk.exporting.benchmark import benchmark as benchmark
    from ilk.exporting.export import export as export
    from ilk.exporting.fastest import export_fastest as export_fastest
    from ilk.inference.classifier import Classifier as Classifier
    from ilk.inference.classifier import load as load
    from ilk.inference.predictions import Predictions as Predictions
    from ilk.inference.remote import Remote as Remote
    from ilk.recipe import Recipe as Recipe
    from ilk.serving.feedback import export_feedback as export_feedback
    from ilk.serving.serve import serve as serve
    from ilk.spec import Spec as Spec
    from ilk.training.find_rate import find_rate as find_rate
    from ilk.training.run import Run as Run
    from ilk.training.train import train as train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ilk' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
