from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from ilk.errors import ModelError
from ilk.spec import SPEC_VERSION, Backbone, Preprocess, Spec


@pytest.fixture
def spec():
    return Spec(
        backbone=Backbone(
            name="resnet18.a1_in1k", features=512, mean=(0.1, 0.2, 0.3), std=(1, 0.5, 0.25)
        ),
        preprocess=Preprocess(imgsz=64, resize="pad", interpolation="bilinear"),
        classes=("größe", "猫", 'a "b"\n'),
        temperature=1.25,
        thresholds={"猫": 0.5},
        provenance={"recipe": {"seed": 3}, "n": [1, 2]},
    )


def changed(spec, **changes):
    return json.dumps({**json.loads(spec.to_json()), **changes})


def test_json_brings_back_the_same_record(spec):
    assert Spec.from_json(spec.to_json(), "m") == spec
    assert Spec.from_json(spec.to_json().encode(), "m") == spec


def test_json_is_one_line(spec):
    assert "\n" not in spec.to_json()


def test_a_newer_version_is_refused_even_if_its_keys_are_unknown(spec):
    text = changed(spec, version=SPEC_VERSION + 1, something="new")
    with pytest.raises(ModelError, match=r"m\.onnx .* version 2; .* up to 1.*Upgrade ilk"):
        Spec.from_json(text, "m.onnx")


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"version": "x"}', b"\xff\xfe", '{"version": 1' + "[" * 9999],
)
def test_what_is_not_a_spec_is_refused(text):
    with pytest.raises(ModelError, match=r"m\.onnx .* not ilk's JSON"):
        Spec.from_json(text, "m.onnx")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"backbone": None}, "backbone"),
        ({"preprocess": {"imgsz": 1}}, "preprocess.imgsz"),
        ({"preprocess": {"imgsz": 10**6}}, "preprocess.imgsz"),
        ({"preprocess": {"imgsz": 64, "resize": "x"}}, "preprocess.resize"),
        ({"classes": [1]}, "classes.0"),
        ({"temperature": 0}, "temperature"),
        ({"thresholds": {"a": "x"}}, "thresholds.a"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_damaged_spec_is_refused_with_the_place(spec, changes, where):
    with pytest.raises(ModelError, match=f"m.onnx has a damaged Spec: {where}: "):
        Spec.from_json(changed(spec, **changes), "m.onnx")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "hf-hub:me", "x\n", "x" * 201])
def test_a_backbone_name_is_a_plain_name(name):
    with pytest.raises(ValidationError):
        Backbone(name=name, features=1, mean=(0, 0, 0), std=(1, 1, 1))


def test_a_spec_without_classes_belongs_to_a_bare_backbone(spec):
    bare = Spec(backbone=spec.backbone, preprocess=spec.preprocess)
    assert bare.classes == ()
    assert (bare.version, bare.temperature) == (SPEC_VERSION, 1.0)
