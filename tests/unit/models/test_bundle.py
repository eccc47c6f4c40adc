from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ilk.errors import ModelError, OutputError
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, SPEC_KEY, Bundle


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


def test_what_is_saved_is_loaded(bundle, file):
    bundle.save(file)
    loaded = Bundle.load(file)
    assert loaded.spec == bundle.spec
    assert loaded.tensors.keys() == bundle.tensors.keys()
    for name, tensor in bundle.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
    assert list(file.parent.iterdir()) == [file]


def test_arrays_are_saved_as_they_are_indexed_not_as_they_lie_in_memory(bundle, file):
    weight = bundle.tensors[HEAD_WEIGHT]
    odd = {
        HEAD_WEIGHT: np.asfortranarray(weight),
        "backbone.transposed": np.arange(6.0).reshape(2, 3).T,
        "backbone.reversed": np.arange(4)[::-1],
        "backbone.scalar": np.array(7),
    }
    replace(bundle, tensors={**bundle.tensors, **odd}).save(file)
    loaded = Bundle.load(file).tensors
    for name, tensor in odd.items():
        np.testing.assert_array_equal(loaded[name], tensor)
        assert loaded[name].shape == tensor.shape


def test_logits_are_those_of_the_linear_layer(bundle):
    features = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    expected = features @ bundle.tensors[HEAD_WEIGHT].T + bundle.tensors[HEAD_BIAS]
    np.testing.assert_array_equal(bundle.logits(features), expected)


def test_the_backbone_digest_ignores_the_head_and_sees_all_else(bundle, bare_bundle):
    assert bundle.backbone_digest == bare_bundle.backbone_digest
    other_weights = {"backbone.conv": bundle.tensors["backbone.conv"] + 1}
    renamed = {"backbone.other": bundle.tensors["backbone.conv"]}
    preprocess = bundle.spec.preprocess.model_copy(update={"imgsz": 16})
    backbone = bundle.spec.backbone.model_copy(update={"std": (2.0, 1.0, 1.0)})
    others = [
        replace(bare_bundle, tensors=other_weights),
        replace(bare_bundle, tensors=renamed),
        replace(bare_bundle, spec=bare_bundle.spec.model_copy(update={"preprocess": preprocess})),
        replace(bare_bundle, spec=bare_bundle.spec.model_copy(update={"backbone": backbone})),
    ]
    assert len({bundle.backbone_digest, *(x.backbone_digest for x in others)}) == 5


def test_no_file(file):
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        Bundle.load(file)
    with pytest.raises(ModelError, match="folder"):
        Bundle.load(file.parent)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(bundle, file, share):
    bundle.save(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"model\.safetensors is not a whole \.safetensors file"):
        Bundle.load(file)


@pytest.mark.parametrize(
    "junk", [b"", b"\x80\x04pickle", b"\xff" * 64, b"PK\x03\x04", (2**60).to_bytes(8, "little")]
)
def test_junk_is_refused(file, junk):
    file.write_bytes(junk)
    with pytest.raises(ModelError, match="not a whole"):
        Bundle.load(file)


def test_foreign_safetensors_are_refused_with_what_to_do(file):
    save_file({"x": np.ones(2)}, file)
    with pytest.raises(ModelError, match=r"not written by ilk.*--weights"):
        Bundle.load(file)
    save_file({"x": np.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not written by ilk"):
        Bundle.load(file)


def with_spec(bundle, file, text):
    save_file(dict(bundle.tensors), file, metadata={SPEC_KEY: text})


def changed(bundle, **changes):
    return json.dumps({**json.loads(bundle.spec.to_json()), **changes})


def test_a_newer_spec_is_refused_with_both_versions(bundle, file):
    with_spec(bundle, file, changed(bundle, version=99, unheard_of=True))
    with pytest.raises(ModelError, match=r"version 99; this ilk reads up to 1\. Upgrade"):
        Bundle.load(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": "x"}', '{"version": 1}'])
def test_a_damaged_spec_is_refused(bundle, file, text):
    with_spec(bundle, file, text)
    with pytest.raises(ModelError, match="Spec"):
        Bundle.load(file)


@pytest.mark.parametrize(
    "name", ["hf-hub:evil/x", "hf_hub:evil/x", "local-dir:/tmp/x", "../x", "a/b", "a b", ""]
)
def test_a_backbone_name_that_reaches_out_is_refused(bundle, file, name):
    backbone = {**bundle.spec.backbone.model_dump(mode="json"), "name": name}
    with_spec(bundle, file, changed(bundle, backbone=backbone))
    with pytest.raises(ModelError, match=r"backbone\.name"):
        Bundle.load(file)


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        (HEAD_WEIGHT, np.zeros((2, 12), np.float32)),
        (HEAD_WEIGHT, np.zeros((3, 11), np.float32)),
        (HEAD_WEIGHT, np.zeros((3, 12), np.float64)),
        (HEAD_WEIGHT, None),
        (HEAD_BIAS, np.zeros(4, np.float32)),
        (HEAD_BIAS, None),
    ],
)
def test_a_head_that_does_not_fit_the_spec_is_refused(bundle, file, key, tensor):
    tensors = {**bundle.tensors, key: tensor}
    replace(bundle, tensors={k: v for k, v in tensors.items() if v is not None}).save(file)
    with pytest.raises(ModelError, match=f"damaged: {key} is .*asks for float32"):
        Bundle.load(file)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(bundle, file, error, monkeypatch):
    bundle.save(file)
    before = file.read_bytes()

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        replace(bundle, spec=bundle.spec.model_copy(update={"temperature": 2.0})).save(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written_is_named(bundle, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(OutputError, match=r"model\.safetensors cannot be written"):
            bundle.save(place / "model.safetensors")
    assert not (tmp_path / "nowhere").exists()


def test_a_single_flipped_bit_is_refused(bundle, file):
    bundle.save(file)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="do not match their checksum"):
        Bundle.load(file)


def test_the_pictures_that_a_training_saw_are_remembered(bundle, file):
    digests = {"0" * 32: "train", "f" * 32: "test"}
    bundle.with_seen(digests).save(file)
    loaded = Bundle.load(file)
    assert [loaded.split_of(d) for d in (*digests, "1" * 32)] == ["train", "test", None]
    assert bundle.split_of("0" * 32) is None
