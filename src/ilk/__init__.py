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
    "Evaluation": "ilk.evaluation.metrics",
    "IlkError": "ilk.errors",
    "Predictions": "ilk.inference",
    "Recipe": "ilk.recipe",
    "Run": "ilk.run",
    "Spec": "ilk.spec",
    "benchmark": "ilk.api",
    "check": "ilk.api",
    "compare": "ilk.api",
    "evaluate": "ilk.api",
    "export": "ilk.api",
    "export_fastest": "ilk.api",
    "find_rate": "ilk.api",
    "from_arrays": "ilk.data.catalog",
    "load": "ilk.api",
    "open_catalog": "ilk.data.sources",
    "serve": "ilk.api",
    "train": "ilk.api",
}

__all__ = [
    "Catalog",
    "Classifier",
    "Evaluation",
    "IlkError",
    "Predictions",
    "Recipe",
    "Run",
    "Spec",
    "__version__",
    "benchmark",
    "check",
    "compare",
    "evaluate",
    "export",
    "export_fastest",
    "find_rate",
    "from_arrays",
    "load",
    "open_catalog",
    "serve",
    "train",
]

if TYPE_CHECKING:
    from ilk.api import (
        benchmark,
        check,
        compare,
        evaluate,
        export,
        export_fastest,
        find_rate,
        load,
        serve,
        train,
    )
    from ilk.data.catalog import Catalog, from_arrays
    from ilk.data.sources import open_catalog
    from ilk.errors import IlkError
    from ilk.evaluation.metrics import Evaluation
    from ilk.inference import Classifier, Predictions
    from ilk.recipe import Recipe
    from ilk.run import Run
    from ilk.spec import Spec


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ilk' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
