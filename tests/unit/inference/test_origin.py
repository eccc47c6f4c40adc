"""A classifier is pickled and copied by the bytes of its file."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import ilk
from ilk.engines import Options
from ilk.errors import ModelError, UsageError
from ilk.inference import classifier as module
from ilk.inference.classifier import Classifier
from ilk.inference.origin import Origin, put_in_cache

PIXELS = np.full((3, 8, 8, 3), 90, np.uint8)


@pytest.fixture
def model(bundle, as_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_engine", lambda bundle, *_: as_engine(bundle))
    file = tmp_path / "run" / "model.safetensors"
    file.parent.mkdir()
    bundle.save(file)
    return file


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_copy_predicts_the_same(model, copied):
    first = ilk.load(model.parent)
    other = copied(first)
    assert other.engine is not first.engine
    assert (other.spec, other.source) == (first.spec, str(model))
    one, two = first.predict(PIXELS), other.predict(PIXELS)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_a_pickle_needs_its_file_no_more(model):
    first = ilk.load(model)
    data = pickle.dumps(first)
    model.unlink()
    other = pickle.loads(data)
    assert other.predict(PIXELS).labels == first.predict(PIXELS).labels
    assert other.weights_file().is_file()
    again = pickle.loads(pickle.dumps(other))  # a copy of a copy
    assert again.predict(PIXELS).labels == first.predict(PIXELS).labels


def test_a_threshold_that_was_set_is_kept(model):
    first = ilk.load(model)
    spec = first.spec.model_copy(update={"thresholds": {"accept": 0.99}})
    first.spec = spec
    assert pickle.loads(pickle.dumps(first)).predict(PIXELS).accept_threshold == 0.99


def test_a_file_that_is_gone_or_has_changed_is_named(model, bundle):
    first = ilk.load(model)
    bundle.save(model)
    with pytest.raises(ModelError, match=r"model\.safetensors has changed since .* Load it again"):
        pickle.dumps(first)
    model.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read any more: No such"):
        copy.deepcopy(first)


def test_a_classifier_without_a_file_is_refused_with_the_reason(bundle, engine):
    with pytest.raises(UsageError, match=r"Only a classifier from ilk\.load can be pickled"):
        pickle.dumps(Classifier(bundle.spec, engine))


def test_a_folder_is_kept_as_a_folder(tmp_path):
    folder = tmp_path / "model-openvino"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.xml").write_bytes(b"x")
    (folder / "parts" / "model.bin").write_bytes(b"")
    files = Origin.of(folder, Options()).files()
    place = put_in_cache(files)
    assert place.name == "model-openvino"
    assert (place / "model.xml").read_bytes() == b"x"
    assert (place / "parts" / "model.bin").read_bytes() == b""
    (place / "model.xml").write_bytes(b"cut off")
    assert (put_in_cache(files) / "model.xml").read_bytes() == b"x"
