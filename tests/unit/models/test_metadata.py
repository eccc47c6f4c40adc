from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from ilk.errors import ModelError
from ilk.models.metadata import CHECKSUM_KEY, RECORDS_KEY, from_metadata, to_metadata


@pytest.fixture
def remembering(bundle):
    """A model that remembers pictures that it saw, and answers on others."""
    logits = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    return bundle.with_seen({"0f" * 16: "train"}).with_held_out(logits, np.array([0, 1, 2, 0]))


def test_spec_and_records_come_back_and_weights_stay_behind(remembering):
    found = from_metadata(to_metadata(remembering), "model.onnx")
    assert found.spec == remembering.spec
    assert found.split_of("0f" * 16) == "train"
    for ours, theirs in zip(found.held_out, remembering.held_out, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(found.tensors) == {n for n in remembering.tensors if n.startswith(("seen.", "held"))}


def test_all_of_it_is_text(remembering):
    assert all(isinstance(value, str) and value.isascii()
               for value in to_metadata(remembering).values())  # fmt: skip


def test_a_model_without_records_has_none(bundle):
    assert from_metadata(to_metadata(bundle), "x").tensors == {}


def test_a_foreign_file_is_named():
    with pytest.raises(ModelError, match=r"other\.onnx holds no Spec: it is damaged, or was not"):
        from_metadata({"producer": "someone"}, "other.onnx")


def edited(metadata):
    spec = json.loads(metadata["ilk.spec"])
    spec["classes"] = ["cat", "dog", "fox"]
    return {**metadata, "ilk.spec": json.dumps(spec)}


@pytest.mark.parametrize(
    "spoil",
    [
        edited,
        lambda m: {**m, RECORDS_KEY: base64.b64encode(b"other").decode()},
        lambda m: {**m, CHECKSUM_KEY: "0" * 64},
        lambda m: {k: v for k, v in m.items() if k != CHECKSUM_KEY},
    ],
    ids=["spec", "records", "checksum", "no checksum"],
)
def test_what_was_edited_is_refused(remembering, spoil):
    with pytest.raises(ModelError, match=r"m\.onnx is damaged: .* as if edited\. Export it again"):
        from_metadata(spoil(to_metadata(remembering)), "m.onnx")


def test_what_is_published_tells_nothing_of_the_training(remembering):
    spec = remembering.spec.model_copy(update={"provenance": {"data": "patients"}})
    found = from_metadata(to_metadata(replace(remembering, spec=spec), public=True), "x")
    assert found.tensors == {}
    assert found.spec.provenance == {}
    assert found.spec.classes == remembering.spec.classes
