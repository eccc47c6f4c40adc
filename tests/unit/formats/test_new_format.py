"""What one file and one entry in FORMATS give a new format: every public function takes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ilk
from ilk import formats
from ilk.cli import run as run_cli
from ilk.errors import GateError, ModelError
from ilk.exporting.fastest import export_fastest
from ilk.models.bundle import Bundle

ENTRY = """
import ilk.formats, toy
ilk.formats.FORMATS += (toy.Toy(),)
"""


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Add the toy to FORMATS, in this process and in those that it starts."""
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(here)
    from toy import Toy  # type: ignore[import-not-found]

    form = Toy()
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, form))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ENTRY)
    paths = [str(tmp_path / "site"), str(here), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return form


@pytest.fixture
def data(colours):
    return colours(60)


@pytest.fixture
def model(bundle, as_engine, tmp_path, monkeypatch):
    """A trained model, whose network is the quarters in PyTorch too."""
    monkeypatch.setattr("ilk.engines.pytorch.PyTorchEngine", lambda bundle, *_: as_engine(bundle))
    spec = bundle.spec.model_copy(update={"classes": ("blue", "green", "red"), "temperature": 0.5})
    Bundle(spec, bundle.tensors).save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def receipt(toy, model, data):
    return ilk.export(model, "toy", data=data)


def test_it_is_exported_and_verified_in_its_own_runtime(receipt, model):
    assert Path(receipt.path) == model.with_name("model.npz")
    assert receipt.executed
    assert receipt.runs_in == f"numpy-{np.__version__}"
    assert receipt.batches == (1, 2, 7, 32)
    assert receipt.top1_agreement.value == 1
    assert receipt.versions["numpy"] == np.__version__


def test_a_wrong_conversion_is_not_published(toy, model, data, monkeypatch):
    convert = type(toy).convert
    monkeypatch.setattr(
        type(toy), "convert", lambda self, job: convert(self, job).replace(b"weight", b"weighs")
    )
    with pytest.raises(GateError, match="toy is not exported: the file cannot be run: 'weight'"):
        ilk.export(model, "toy", data=data)
    assert not model.with_name("model.npz").exists()


def test_it_is_loaded_and_predicts_as_its_model(receipt, model, colours):
    pixels = colours(9, seed=1)[0]
    found = ilk.load(receipt.path).predict(pixels)
    expected = ilk.load(model, engine="pytorch").predict(pixels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert found.classes == expected.classes


def test_an_edited_file_is_refused(receipt):
    path = Path(receipt.path)
    path.write_bytes(path.read_bytes().replace(b'"blue"', b'"pink"'))
    with pytest.raises(ModelError, match=r"model\.npz"):
        ilk.load(path)


def test_it_is_benchmarked(receipt, data):
    [row] = ilk.benchmark([receipt.path], data=data)
    assert row.format == "toy"
    assert row.runs_in.startswith("numpy-")
    assert row.load_s > 0


def test_engines_are_closed_after_a_benchmark(receipt, data, monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    monkeypatch.setattr("toy.ToyEngine.close", close)
    ilk.benchmark([receipt.path], data=data)
    assert len(closed) == 1
    with pytest.raises(ModelError, match=r"There is no model none\.npz"):
        ilk.benchmark([receipt.path, "none.npz"], data=data)
    assert len(closed) == 2


def test_the_search_for_the_smallest_tries_it(toy, model, data, monkeypatch):
    monkeypatch.setattr(formats, "FORMATS", (toy,))
    monkeypatch.setattr("ilk.exporting.fastest.benchmark_interleaved", fake_timing)
    loaded, closed = [], []
    fake = SimpleNamespace(close=lambda: closed.append(True))
    monkeypatch.setattr("ilk.exporting.fastest.load", lambda path, **_: loaded.append(path) or fake)
    choice = export_fastest(model, goal="size", data=data)
    assert choice.chosen.name == "toy"
    assert Path(choice.receipt.path).name == "model.npz"
    assert len(closed) == len(loaded) == 2  # the candidate, and the model unexported


def test_the_search_names_no_file_that_is_gone(toy, model, data, monkeypatch):
    class Twin(type(toy)):
        name, suffix, size_rank = "twin", "-twin.npz", 1

    monkeypatch.setattr(formats, "FORMATS", (toy, Twin()))
    monkeypatch.setattr("ilk.exporting.fastest.benchmark_interleaved", fake_timing)
    fake = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("ilk.exporting.fastest.load", lambda *_, **__: fake)
    choice = export_fastest(model, goal="size", data=data)
    assert choice.chosen.path == Path(choice.receipt.path)
    assert choice.chosen.receipt == choice.receipt
    [other] = (c for c in choice.candidates if c is not choice.chosen)
    assert (other.path, other.receipt.path) == (None, "")


def fake_timing(classifiers, *_):
    from ilk.exporting.timing import Speed

    return [Speed(np.ones(1), {1: 1.0}, None) for _ in classifiers]


def test_the_command_line_takes_it(toy, model, data, tmp_path, capsys, write_picture):
    for i, label in enumerate(data[1]):
        write_picture(tmp_path / "data" / label / f"{i}.png", i)
    output = tmp_path / "shipped.npz"
    arguments = ["export", str(model), "--data", str(tmp_path / "data"), "--format"]
    assert run_cli([*arguments, "toy", "--output", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(output)
    assert run_cli([*arguments, "numpy"]) == 2
    assert "Do you mean toy?" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_the_help_names_it():
    command = [sys.executable, "-m", "ilk", "export", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "web, toy" in " ".join(done.stdout.replace("│", " ").split())
