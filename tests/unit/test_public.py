from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

import ilk

NAMES = [name for name in ilk.__all__ if name != "__version__"]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(ilk, name))]
RECORDS = [name for name in NAMES if dataclasses.is_dataclass(getattr(ilk, name))]
MODELS = [
    name
    for name in NAMES
    if name not in FUNCTIONS and issubclass(getattr(ilk, name), pydantic.BaseModel)
]
DOCS = Path(__file__).parents[2] / "docs"


def documented(text, section):
    """Return the names that a section of a NumPy docstring describes."""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.M | re.S)
    heads = re.findall(r"^(?=\S)(.+?)(?: : .*)?$", found.group(1), re.M) if found else []
    return {name.strip(" *") for head in heads for name in head.split(",")}


def test_the_public_surface_is_what_dir_and_a_star_import_give():
    assert dir(ilk) == sorted(ilk.__all__)
    assert len(set(ilk.__all__)) == len(ilk.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_summary(name):
    summary = inspect.getdoc(getattr(ilk, name)).splitlines()[0]
    assert summary.endswith(".")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_its_parameters_and_result(name):
    function = getattr(ilk, name)
    text, signature = inspect.getdoc(function), inspect.signature(function)
    assert documented(text, "Parameters") == set(signature.parameters)
    if signature.return_annotation != "None":
        assert documented(text, "Returns"), "no section Returns"


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_documents_its_fields(name):
    kind = getattr(ilk, name)
    text = inspect.getdoc(kind)
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields <= documented(text, "Attributes") | documented(text, "Parameters")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_describes_its_fields(name):
    kind = getattr(ilk, name)
    text = documented(inspect.getdoc(kind), "Attributes")
    for field, info in kind.model_fields.items():
        assert info.description or field in text, field


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (DOCS / "reference.md").read_text() == script.reference(), (
        "the docstrings have changed: run python docs/make_reference.py"
    )


def test_a_name_that_does_not_exist_is_an_attribute_error():
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


def test_only_the_range_test_needs_torch_to_be_imported():
    names = [name for name in ilk.__all__ if name != "find_rate"]  # which runs a training loop
    modules = imported_by(f"import ilk\n[getattr(ilk, name) for name in {names}]")
    assert not modules & {"torch", "torchvision", "timm", "sklearn", "openvino", "matplotlib"}
