from __future__ import annotations

import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

import ilk
from ilk.engines import Options, files
from ilk.engines.base import Outputs
from ilk.engines.files import Kind, kind_of, open_file
from ilk.engines.pieces import PieceEngine
from ilk.engines.trailer import with_trailer, zipped_texts
from ilk.errors import EngineError, ModelError, UsageError
from ilk.inference import fitting, load
from ilk.models.metadata import to_metadata


@pytest.mark.parametrize(
    "network", [b"", b"\x10\x00\x00\x00ET12 and more", b"PK\x03\x04 by chance"]
)
def test_metadata_behind_a_file_is_found_and_the_file_is_as_before(tmp_path, network):
    whole = with_trailer(network, {"ilk.spec": "ü {}", "ilk.sha256": "0"})
    (tmp_path / "m.pte").write_bytes(whole)
    assert whole.startswith(network)
    assert zipped_texts(tmp_path / "m.pte") == {"ilk.spec": "ü {}", "ilk.sha256": "0"}


def test_the_same_metadata_gives_the_same_bytes():
    assert with_trailer(b"x", {"ilk.a": "1"}) == with_trailer(b"x", {"ilk.a": "1"})


@pytest.mark.parametrize("content", [b"", b"no zip", with_trailer(b"x", {"ilk.a": "1"})[:-5]])
def test_where_there_is_no_whole_zip_there_is_no_metadata(tmp_path, content):
    (tmp_path / "m.pte").write_bytes(content)
    assert zipped_texts(tmp_path / "m.pte") == {}


def test_other_files_in_a_zip_are_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/data.pkl", b"\xff not text")
        archive.writestr("m/extra/ilk.spec", "{}")
    assert zipped_texts(tmp_path / "m.pt2") == {"ilk.spec": "{}"}


def test_pieces_join_to_what_the_whole_would_give():
    class Sums(PieceEngine):
        name = "sums"
        piece = 3

        def run_piece(self, pixels):
            assert len(pixels) <= 3
            assert pixels.flags["C_CONTIGUOUS"]
            total = pixels.reshape(len(pixels), -1).sum(axis=1, keepdims=True, dtype=np.float32)
            return [total * 0, total, -total]

    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)[:, ::-1]
    features, logits = Sums().run(pixels)
    np.testing.assert_array_equal(logits[:, 0], pixels.reshape(8, -1).sum(axis=1))
    np.testing.assert_array_equal(features, -logits)


@pytest.fixture
def exported(monkeypatch, tmp_path, bundle, as_engine):
    """A kind of file of its own, which the quarters run."""
    path = tmp_path / "m.quarters"
    path.write_bytes(with_trailer(b"", to_metadata(bundle)))
    home = SimpleNamespace(Engine=lambda path, spec: as_engine(bundle))
    monkeypatch.setattr(files, "import_module", lambda name: home)
    kind = Kind("a file of quarters", "quarters", "Engine")
    monkeypatch.setitem(files.KINDS, ".quarters", kind)
    return SimpleNamespace(path=path, kind=kind, home=home)


def test_an_exported_file_is_a_classifier(exported, bundle, as_engine):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    classifier = load(exported.path)
    assert classifier.classes == bundle.spec.classes
    expected = as_engine(bundle).run(pixels).logits
    np.testing.assert_array_equal(classifier.engine.run(pixels).logits, expected)


def test_a_file_that_may_hold_code_is_not_touched_unless_trusted(tmp_path):
    touched = tmp_path / "touched"

    class Payload:
        def __reduce__(self):
            return touched.touch, ()

    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Payload()))
    with pytest.raises(ModelError, match=r"m\.pt2 is a torch\.export file, which can hold code"):
        load(path)
    assert not touched.exists()


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx is not there"):
        load(tmp_path / "none.onnx")


def test_a_precision_that_a_file_cannot_change_is_refused(exported):
    with pytest.raises(UsageError, match="as it was exported; drop --precision fp32"):
        open_file(exported.path, exported.kind, "fp32", trust=False)


def test_outputs_that_do_not_fit_the_spec_are_refused(exported, bundle, as_engine):
    class Narrow(as_engine):
        def run(self, pixels):
            return Outputs(super().run(pixels).features, np.zeros((len(pixels), 2), np.float32))

    exported.home.Engine = lambda path, spec: Narrow(bundle)
    with pytest.raises(ModelError, match=r"its Spec promises \[\(1, 12\), \(1, 3\)\]"):
        load(exported.path)


def test_a_network_that_fails_is_refused(exported, as_engine):
    class Broken(as_engine):
        def run(self, pixels):
            raise RuntimeError("no such operator")

    exported.home.Engine = lambda path, spec: Broken(None)
    with pytest.raises(ModelError, match="cannot be run: no such operator"):
        load(exported.path)


@pytest.mark.parametrize(
    "name, what",
    [
        ("m.onnx", "an ONNX file"),
        ("m-int8.onnx", "an ONNX file"),
        ("m.pte", "an ExecuTorch file"),
        ("m.mlpackage", "a Core ML package"),
        ("m.safetensors", None),
        ("m", None),
    ],
)
def test_files_are_known_by_their_names(tmp_path, name, what):
    kind = kind_of(tmp_path / name)
    assert (kind.what if kind else None) == what


def test_folders_are_known_by_what_lies_in_them(tmp_path):
    for folder, file in (("a", "model.xml"), ("b", "model.onnx"), ("c", "model.safetensors")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    assert kind_of(tmp_path / "a").what == "an OpenVINO model"
    assert kind_of(tmp_path / "b").what == "a web page"
    assert kind_of(tmp_path / "c") is None


def test_what_runs_elsewhere_says_where(tmp_path):
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(EngineError, match="Core ML runs it, on iOS and macOS only"):
        load(tmp_path / "m.mlpackage")


def test_several_models_take_options_as_far_as_they_have_a_choice(exported, tmp_path):
    options = Options(device="cpu", engine="pytorch", precision="fp32", trust=True)
    assert fitting(tmp_path / "model.safetensors", options) == options
    assert fitting(exported.path, options) == Options(trust=True)


def test_an_exported_file_cannot_be_looked_into(exported):
    classifier = load(exported.path)
    with pytest.raises(UsageError, match="was exported: it answers, but it cannot be explained"):
        ilk.explain(classifier, [], [])
