from __future__ import annotations

import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

import ilk
from ilk import formats
from ilk.engines import Options
from ilk.engines.base import Outputs
from ilk.errors import EngineError, ModelError, UsageError
from ilk.formats.base import Format
from ilk.inference.classifier import applicable_options, load
from ilk.models.metadata import to_metadata


@pytest.fixture
def exported(monkeypatch, tmp_path, bundle, as_engine):
    """A file of a format that the quarters run."""

    class Quarters(Format):
        name = "quarters"
        noun = "a file of quarters"
        suffix = ".quarters"
        engine = as_engine(bundle)

        def convert(self, job):
            raise NotImplementedError

        def open(self, path, spec, precision="auto"):
            return self.engine

    form = Quarters()
    path = tmp_path / "m.quarters"
    form.save(b"", path, to_metadata(bundle))
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, form))
    return SimpleNamespace(path=path, form=form)


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
    with pytest.raises(ModelError, match=r"There is no model .*none\.onnx\."):
        load(tmp_path / "none.onnx")


def test_a_precision_that_a_file_cannot_change_is_refused(exported):
    with pytest.raises(UsageError, match="the precision it was exported in; drop --precision fp32"):
        exported.form.load(exported.path, "fp32")


def test_outputs_that_do_not_fit_the_spec_are_refused(exported, bundle, as_engine):
    class Narrow(as_engine):
        def run(self, pixels):
            return Outputs(super().run(pixels).features, np.zeros((len(pixels), 2), np.float32))

    exported.form.engine = Narrow(bundle)
    with pytest.raises(ModelError, match=r"its Spec promises \[\(1, 12\), \(1, 3\)\]"):
        load(exported.path)


def test_a_network_that_fails_is_refused(exported, as_engine):
    class Broken(as_engine):
        def run(self, pixels):
            raise RuntimeError("no such operator")

    exported.form.engine = Broken(None)
    with pytest.raises(ModelError, match="cannot be run: no such operator"):
        load(exported.path)


def test_a_network_that_fails_is_closed(exported, as_engine):
    class Broken(as_engine):
        closed = 0

        def run(self, pixels):
            raise RuntimeError("no such operator")

        def close(self):
            self.closed += 1

    exported.form.engine = Broken(None)
    with pytest.raises(ModelError):
        load(exported.path)
    assert exported.form.engine.closed == 1


def test_what_runs_elsewhere_says_where(tmp_path):
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(EngineError, match="Core ML runs it, on iOS and macOS only"):
        load(tmp_path / "m.mlpackage")


def test_several_models_take_options_as_far_as_they_have_a_choice(exported, tmp_path):
    options = Options(device="cpu", engine="pytorch", precision="fp32", trust=True)
    assert applicable_options(tmp_path / "model.safetensors", options) == options
    assert applicable_options(exported.path, options) == Options(trust=True)


def test_an_exported_file_cannot_be_looked_into(exported):
    classifier = load(exported.path)
    with pytest.raises(UsageError, match="was exported: it can predict, but not be explained"):
        ilk.explain(classifier, [], [])
