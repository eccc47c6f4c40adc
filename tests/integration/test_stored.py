"""What earlier commits wrote is read by this one, and answers as it did.

Each folder in ``stored`` holds files of every kind, as the commit that it is named after wrote
them, and what they are to yield; see stored/README.md. Only public names are used here, since all
others may change.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tarfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import ilk
import ilk.cli

STORED = Path(__file__).parent / "stored"
VERSIONS = sorted(file.parent.name for file in STORED.glob("*/expected.json"))
PLACE = "/stored"  # stands in the files for the folder that they lie in
FIXED = {"engine": "pytorch", "precision": "fp32"}  # as all processors compute it
NEEDS = {
    "onnx": "onnxruntime", "onnx-int8": "onnxruntime", "web": "onnxruntime",
    "torch-int8": "torchao", "executorch": "executorch", "executorch-int8": "executorch",
    "coreml": "coremltools", "litert": "ai_edge_litert",
}  # fmt: skip
SLOW = {"executorch", "executorch-int8"}  # to import
EXACT = 1e-4
ROUNDED = 0.2  # processors round int8 and bf16 in ways of their own


def expected_of(version):
    return json.loads((STORED / version / "expected.json").read_text())


def each(kind):
    """Return a parameter for each thing of a kind that each version stored."""
    return [
        pytest.param(version, name, id=f"{version}-{name}", marks=marks_of(expected, name))
        for version in VERSIONS
        for expected in [expected_of(version)]
        for name in expected[kind]
    ]


def marks_of(expected, name):
    return [pytest.mark.slow] if expected["formats"].get(name) in SLOW else []


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Return ``unpacked(version)``: the folder with its files, and what they are to yield."""
    known = {}

    def unpack(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("stored")
            with tarfile.open(STORED / name / "stored.tar.xz") as archive:
                archive.extractall(folder, filter="data")
            for file in folder.rglob("*"):
                if file.suffix in {".csv", ".json", ".yaml"}:
                    file.write_text(file.read_text().replace(PLACE, str(folder)))
            known[name] = SimpleNamespace(folder=folder, expected=expected_of(name), loaded={})
        return known[name]

    return unpack


@pytest.fixture(params=VERSIONS)
def stored(request, unpacked):
    return unpacked(request.param)


def path_of(stored, name):
    """Return where the model of a name lies, and what it must be loaded with."""
    if name == "best":
        return stored.folder / "runs" / "interrupted" / "checkpoints" / "best.safetensors", FIXED
    if name in stored.expected["formats"]:
        return stored.folder / "exported" / name, {"trust": True}
    return stored.folder / "runs" / name, FIXED


def loaded(stored, name):
    """Load a stored model, once."""
    needed = NEEDS.get(stored.expected["formats"].get(name))
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    if name not in stored.loaded:
        path, options = path_of(stored, name)
        stored.loaded[name] = ilk.load(path, **options)
    return stored.loaded[name]


def test_there_are_stored_files():
    assert VERSIONS


@pytest.mark.parametrize("release, name", each("models"))
def test_a_stored_model_answers_as_it_did(release, name, unpacked):
    stored = unpacked(release)
    expected = stored.expected["models"][name]
    format = stored.expected["formats"].get(name, "")
    tolerance = ROUNDED if format.endswith(("int8", "bf16")) else EXACT

    classifier = loaded(stored, name)
    found = classifier.predict([stored.folder / file for file in expected["files"]])

    assert list(classifier.classes) == list(found.classes) == expected["classes"]
    assert found.errors == {}
    before = np.array(expected["probabilities"])
    np.testing.assert_allclose(found.probabilities, before, atol=tolerance, rtol=0)
    second, first = np.sort(before)[:, -2:].T
    certain = first - second > 2 * tolerance
    assert certain.sum() >= len(before) / 2
    for row in np.flatnonzero(certain):
        assert found.labels[row] == expected["labels"][row]
    sure = abs(first - found.accept_threshold) > tolerance
    assert found.accepted[sure].tolist() == np.array(expected["accepted"])[sure].tolist()
    if tolerance == EXACT:
        np.testing.assert_allclose(
            found.novelty, np.array(expected["novelty"], float), atol=0.02, rtol=0.001
        )
        assert found.unknown.tolist() == expected["unknown"]


@pytest.mark.parametrize("release, name", each("models"))
def test_a_stored_model_knows_itself(release, name, unpacked):
    stored = unpacked(release)
    expected = stored.expected["models"][name]
    classifier = loaded(stored, name)
    spec, found = classifier.spec, classifier.predict(stored.folder / expected["files"][0])
    assert spec.temperature == expected["temperature"]
    assert spec.thresholds == expected["thresholds"]
    assert found.accept_threshold == expected["thresholds"].get("accept", 0.0)
    assert (found.novelty_threshold if spec.novelty else None) == expected["strange"]
    assert spec.preprocess.imgsz == expected["imgsz"]
    assert spec.views == expected["views"]
    assert spec.provenance.get("pictures") == expected["pictures"]


@pytest.mark.parametrize("name", ["probe", "smallnet", "model.onnx", "model-web"])
def test_a_stored_model_knows_the_pictures_that_it_was_trained_on(name, stored):
    """Unasked, it is scored on what it did not learn from; what is published forgets."""
    found = ilk.evaluate(loaded(stored, name), stored.folder / "pictures")
    assert found.n == stored.expected["models"][name]["scored_on"]


def test_a_stored_core_ml_package_is_read_and_refused_as_before(stored):
    [name] = [n for n, f in stored.expected["formats"].items() if f == "coreml"]
    path = stored.folder / "exported" / name
    with pytest.raises(ilk.IlkError, match="Core ML runs it, on iOS and macOS only"):
        ilk.load(path)
    coremltools = pytest.importorskip("coremltools")
    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = json.loads(model.user_defined_metadata["ilk.spec"])
    probe = stored.expected["models"]["probe"]
    assert spec["classes"] == probe["classes"]
    assert ilk.Spec.from_json(json.dumps(spec), name).thresholds == probe["thresholds"]


def weights_of(model):
    from safetensors.numpy import load_file

    return load_file(model)


def test_an_interrupted_training_goes_on_to_where_it_would_have_come(stored, tmp_path):
    run = tmp_path / "interrupted"
    shutil.copytree(stored.folder / "runs" / "interrupted", run)
    expected = stored.expected["training"]

    resumed = ilk.train(resume=run)

    header, *rows = csv.reader((run / "history.csv").read_text().splitlines())
    header_before, *rows_before = expected["history"]
    assert len(header) == len(header_before)
    assert len(rows) == len(rows_before) == 3
    # A column may be renamed, but keeps its place. The first epoch ended before the interruption.
    times = {header_before.index(name) for name in ("seconds", "pictures_per_second")}
    for place, (value, before) in enumerate(zip(rows[0], rows_before[0], strict=True)):
        if place not in times:
            assert float(value) == pytest.approx(float(before), rel=1e-4), header[place]
    rates = [[float(row[header_before.index("rate")]) for row in t] for t in (rows, rows_before)]
    assert rates[0] == pytest.approx(rates[1])
    found, before = weights_of(resumed.model), weights_of(stored.folder / expected["model"])
    assert found.keys() == before.keys()
    same_machine = stored.expected["made_by"] == made_here()
    for name, tensor in before.items():
        if same_machine:
            np.testing.assert_array_equal(found[name], tensor, err_msg=name)
        elif tensor.dtype != np.uint8:
            np.testing.assert_allclose(found[name], tensor, atol=0.02, rtol=0.02, err_msg=name)


def made_here():
    """Return what the last bits of a training depend on, as make_stored.py has it."""
    named = {}
    if (file := Path("/proc/cpuinfo")).is_file():
        lines = [line.split(":", 1) for line in file.read_text().splitlines() if ":" in line]
        named = {key.strip(): value.strip() for key, value in lines}
    parts = [named.get(key, "?") for key in ("vendor_id", "cpu family", "model")]
    machine = (
        f"{' '.join(parts)}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads"
    )
    return {"machine": machine, "torch": torch.__version__, "timm": version("timm")}


def test_a_finished_run_says_that_there_is_nothing_to_resume(stored):
    with pytest.raises(ilk.IlkError, match="has finished"):
        ilk.train(resume=stored.folder / "runs" / "scratch")


@pytest.mark.parametrize("place", ["runs/scratch/catalog.csv", "runs/probe/kept/catalog.csv"])
def test_a_stored_catalog_names_pictures_with_their_splits(place, stored):
    catalog = ilk.open_catalog(stored.folder / place)
    expected = stored.expected["models"]["scratch" if "scratch" in place else "probe"]
    assert list(catalog.classes) == expected["classes"]
    counts = {split: len(catalog.of(split)) for split in expected["pictures"]}
    most = 100 if "kept" in place else 1000
    assert counts == {split: min(most, n) for split, n in expected["pictures"].items()}
    assert catalog.left_out == ()
    assert all(Path(picture.path).is_file() for picture in catalog.pictures)


def test_a_stored_run_is_exported_by_the_pictures_that_it_kept(stored, tmp_path):
    run = tmp_path / "run"  # without a catalog.csv: the pictures of the training have gone
    run.mkdir()
    shutil.copy(stored.folder / "runs" / "probe" / "model.safetensors", run)
    shutil.copytree(stored.folder / "runs" / "probe" / "kept", run / "kept")
    receipt = ilk.export(run, "torchscript", output=tmp_path / "m.torchscript")
    assert receipt.executed
    assert "kept by its run" in receipt.pictures
    assert receipt.top1_agreement.value == 1


def values_of(recipe):
    """Return what a recipe says, whatever its keys are called, in order."""
    return list(yaml.safe_load(recipe.read_text()).values())


def test_a_stored_recipe_trains_the_same_model(stored, tmp_path, monkeypatch):
    shutil.copytree(stored.folder / "cache", tmp_path / "cache")
    monkeypatch.setenv("ILK_CACHE", str(tmp_path / "cache"))
    before = stored.folder / "runs" / "probe"

    run = ilk.train(stored.folder / "pictures", before / "recipe.yaml", runs=tmp_path)

    number = stored.expected["features"]["pictures"]
    # JPEGs are decoded to other pixels since then: their features are not taken from the cache.
    assert run.metrics["training"]["features_computed"] == number
    then, now = (
        ilk.Recipe(**yaml.safe_load((folder / "recipe.yaml").read_text()))
        for folder in (before, run.folder)
    )
    assert now == then
    expected = stored.expected["models"]["probe"]
    found = ilk.load(run.model, **FIXED).predict([stored.folder / f for f in expected["files"]])
    np.testing.assert_allclose(found.probabilities, expected["probabilities"], atol=0.01)


def recipes():
    names = ("probe", "finetune", "scratch", "guide", "case-study", "digits", "cifar10")
    return [pytest.param(v, name, id=f"{v}-{name}") for v in VERSIONS for name in names]


@pytest.mark.parametrize("release, name", recipes())
def test_a_stored_recipe_is_accepted_with_every_key(release, name, unpacked, tmp_path):
    recipe = unpacked(release).folder / "recipes" / f"{name}.yaml"
    assert len(values_of(recipe)) > 10
    with pytest.raises(ilk.IlkError, match=r"no-such-folder"):  # and not of a key
        ilk.train(tmp_path / "no-such-folder", recipe, runs=tmp_path / "runs")


def test_stored_corrections_become_pictures_with_a_table(stored, tmp_path, capsys):
    output = tmp_path / "fixes"
    file = stored.folder / "feedback.sqlite"
    assert ilk.cli.run(["export-feedback", str(file), "--output", str(output)]) == 0
    rows = list(csv.DictReader((output / "catalog.csv").read_text().splitlines()))
    pictures = stored.folder / "pictures"
    expected = [[(pictures / f).read_bytes(), label] for f, label in stored.expected["feedback"]]
    assert sorted([(output / row["path"]).read_bytes(), row["label"]] for row in rows) == sorted(
        expected
    )
    assert {row["model"] for row in rows} == {"shapes@2"}
    assert {row["predicted"] for row in rows} == {"bar"}


def digests(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_table_with_suspects_marked_is_a_catalog(stored):
    catalog = ilk.open_catalog(stored.folder / "marked.csv")
    moved = stored.expected["quarantine"]["moved"]
    assert len(catalog.pictures) == len(stored.expected["quarantine"]["before"]) - len(moved)
    assert catalog.classes == ("bar", "cross")


def test_a_stored_quarantine_is_undone(stored, capsys):
    expected = stored.expected["quarantine"]
    data = stored.folder / "checked"
    assert sorted(set(expected["before"]) - set(digests(data))) == expected["moved"]
    assert ilk.cli.run(["check", "--undo", str(stored.folder / "quarantine")]) == 0
    assert digests(data) == expected["before"]
