from __future__ import annotations

import subprocess
import sys

import pytest

import ilk

PUBLIC = [
    "Catalog",
    "Classifier",
    "Evaluation",
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
    "explained_mistakes",
    "export",
    "export_fastest",
    "export_feedback",
    "find_rate",
    "from_arrays",
    "load",
    "open_catalog",
    "refuse_read_only",
    "serve",
    "store_threshold",
    "train",
    "with_threshold",
]


def test_the_public_names_are_frozen():
    assert ilk.__all__ == PUBLIC
    assert dir(ilk) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(ilk, name)
    assert name == "__version__" or value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ilk.nothing  # noqa: B018


def imported_by(code):
    """Return the names of the modules that some code leaves imported in a fresh interpreter."""
    code += "\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


def test_importing_ilk_imports_nothing_heavy():
    heavy = {"torch", "torchvision", "timm", "numpy", "PIL", "sklearn", "openvino", "pydantic"}
    assert not imported_by("import ilk") & heavy


def test_the_public_functions_need_no_torch_to_be_imported():
    modules = imported_by("import ilk\nilk.train, ilk.load, ilk.evaluate, ilk.Recipe")
    assert not modules & {"torch", "torchvision", "timm", "sklearn", "openvino", "matplotlib"}
