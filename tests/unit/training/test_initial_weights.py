from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ilk.data.catalog import Catalog, Picture
from ilk.data.in_memory import from_arrays
from ilk.errors import UsageError
from ilk.models import network as networks
from ilk.models.network import build
from ilk.models.smallnet import smallnet
from ilk.spec import Preprocess
from ilk.training import initial_weights as module
from ilk.training.initial_weights import (
    LARGEST,
    SMALLEST,
    check_parts,
    common_side,
    from_pretrained,
    from_scratch,
    preprocess_for,
    with_new_head,
)
from ilk.training.pixels import CachedPixels

PREPROCESS = Preprocess(imgsz=8)


@pytest.fixture
def narrow(monkeypatch):
    """Make smallnets narrow, which is quicker."""

    def create(name):
        assert name == "smallnet"
        return smallnet((32, 8)).eval()

    describe = module.describe
    for place in (module, networks):
        monkeypatch.setattr(place, "create", create)
    monkeypatch.setattr(module, "describe", lambda name: replace(describe(name), features=8))


def catalog_of(*sides):
    """Return pictures of so many pixels, each half as high."""
    return from_arrays([np.zeros((max(1, side // 2), side, 3), np.uint8) for side in sides])


@pytest.mark.parametrize(
    ("sides", "usual"),
    [
        ((32, 32, 28), 32),
        ((28, 28, 32), 28),
        ((8, 8), SMALLEST),
        ((64,), 64),
        ((500, 500, 32), LARGEST),
    ],
)
def test_the_usual_side_is_the_commonest_longer_one_within_limits(sides, usual):
    assert common_side(catalog_of(*sides)) == usual


@pytest.mark.parametrize(("side", "warnings"), [(64, 0), (65, 1)])
def test_who_trains_from_scratch_on_photos_is_warned(caplog, side, warnings):
    common_side(catalog_of(side))
    assert len(caplog.records) == warnings
    if warnings:
        assert "Most pictures are 65 pixels" in caplog.text
        assert "--mode probe or finetune" in caplog.text


def test_the_side_is_read_from_the_head_of_a_file_and_bad_ones_are_passed_over(tmp_path):
    good = tmp_path / "good.png"
    Image.new("RGB", (20, 24)).save(good)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    paths = [tmp_path / "bad.png", tmp_path / "gone.png", good]
    assert common_side(Catalog(tuple(Picture(str(path), "cat") for path in paths))) == 24
    assert common_side(Catalog(tuple(Picture(str(path), "cat") for path in paths[:2]))) == LARGEST


def test_of_many_pictures_some_are_looked_at():
    class Counted(Picture):
        def read(self):
            read.append(1)
            return np.zeros((30, 30, 3), np.uint8)

    read = []
    assert common_side(Catalog(tuple(Counted(f"{i}.png") for i in range(5000)))) == 30
    assert 50 <= len(read) <= 200


def test_from_scratch_pictures_are_taken_at_about_their_size(lab):
    scratch = lab.recipe(mode="scratch", model="smallnet", resize="pad")
    assert preprocess_for(catalog_of(28, 28), scratch).imgsz == 28
    assert preprocess_for(catalog_of(28, 28), scratch).resize == "pad"
    told = scratch.model_copy(update={"imgsz": 40})
    assert preprocess_for(catalog_of(28, 28), told).imgsz == 40


def test_a_pretrained_backbone_has_a_size_of_its_own(lab):
    assert preprocess_for(catalog_of(28), lab.recipe(model="resnet18")).imgsz == 224
    assert preprocess_for(catalog_of(28), lab.recipe(model="resnet18", imgsz=64)).imgsz == 64


def test_a_size_that_a_backbone_cannot_take_is_refused(lab):
    with pytest.raises(UsageError, match="'vgg16' cannot take --imgsz 8"):
        preprocess_for(catalog_of(28), lab.recipe(model="vgg16", imgsz=8))


@pytest.fixture
def scratch(lab, narrow):
    """Return ``scratch(seed)``: a start from random weights, for these pictures."""

    def make(seed=0, examples=None):
        recipe = lab.recipe(mode="scratch", model="smallnet", seed=seed)
        return from_scratch(examples or lab.examples(train=40), PREPROCESS, recipe)

    return make


def differing(one, other):
    return {k for k in one.tensors if not np.array_equal(one.tensors[k], other.tensors[k])}


def test_random_weights_depend_on_the_seed_alone(scratch):
    torch.manual_seed(1)
    one = scratch()
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    other = scratch()
    assert differing(one, other) == set()
    assert torch.equal(torch.rand(3), expected)  # and they leave no trace
    assert differing(one, scratch(seed=1)) >= {"head.weight", "backbone.stage1.conv1.weight"}


def test_a_start_from_scratch_normalises_by_the_training_pictures(lab, scratch):
    examples = lab.examples(train=40)
    spec = scratch(examples=examples).spec
    flat = examples.source.pixels[:40].reshape(-1, 3) / 255
    np.testing.assert_allclose(spec.backbone.mean, flat.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(spec.backbone.std, flat.std(axis=0), atol=1e-4)
    assert spec.backbone.weights == "random"
    assert spec.preprocess == PREPROCESS
    assert spec.classes == lab.classes


def test_pictures_to_choose_by_have_no_part_in_it(lab, scratch):
    examples = lab.examples(train=40, val=20)
    before = scratch(examples=examples)
    examples.source.pixels[40:] = 255
    after = scratch(examples=examples)
    assert differing(before, after) == set()
    assert before.spec == after.spec


def test_the_first_layer_is_whitened(lab, scratch):
    """Its outputs are about decorrelated on the training pictures; the head's input is finite."""
    examples = lab.examples(train=40)
    network = build(scratch(examples=examples))
    pixels = torch.from_numpy(examples.source.pixels[:40])
    with torch.no_grad():
        image = pixels.permute(0, 3, 1, 2).float() * network.scale + network.shift
        filters = network.backbone.whiten.weight[:12]
        patches = torch.nn.functional.conv2d(image, filters).transpose(0, 1).flatten(1)
        second = patches @ patches.T / patches.shape[1]
        _, logits = network(pixels)
    torch.testing.assert_close(second, torch.eye(12), atol=0.05, rtol=0)
    assert logits.isfinite().all()


def test_pictures_of_one_colour_do_not_divide_by_nothing(lab, scratch):
    examples = lab.examples(train=40)
    grey = np.full_like(examples.source.pixels, 200)
    bundle = scratch(examples=replace(examples, source=CachedPixels(grey, {})))
    assert min(bundle.spec.backbone.std) == 0.05
    assert all(np.isfinite(value).all() for value in bundle.tensors.values())


def test_a_new_head_depends_on_the_seed_alone_and_leaves_the_backbone(lab):
    recipe = lab.recipe(views="mirror")
    old = lab.start()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = with_new_head(old, ("ant", "bee"), recipe)
    assert torch.equal(torch.rand(3), expected)
    assert differing(one, with_new_head(old, ("ant", "bee"), recipe)) == set()
    assert one.spec.classes == ("ant", "bee")
    assert one.spec.views == "mirror"
    assert one.tensors["head.weight"].shape == (2, 6)
    assert one.tensors["head.weight"].std() > 0
    assert one.backbone_digest == old.backbone_digest
    other = with_new_head(old, ("ant", "bee"), lab.recipe(seed=1, views="mirror"))
    assert differing(one, other) == {"head.weight", "head.bias"}


def test_a_guide_begins_with_a_pretrained_backbone(lab, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(module, "prepared_backbone", lambda *a: asked.append(a) or lab.start())
    recipe = lab.recipe(mode="guide", model="resnet18", weights=tmp_path / "my.pth")
    bundle = from_pretrained(("ant", "bee"), PREPROCESS, recipe)
    assert asked == [("resnet18", tmp_path / "my.pth", PREPROCESS)]
    assert bundle.spec.classes == ("ant", "bee")
    assert build(bundle).head.out_features == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"freeze": "nonesuch"}, "no part 'nonesuch'"),
        ({"rates": {"nonesuch": 2.0}}, "no part 'nonesuch'"),
        ({"freeze": "backbone", "rates": {"head": 0.0}}, "Nothing is left to train"),
        ({"model": "nonesuch"}, "timm has no model"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_before_the_work_begins(lab, fields, message):
    with pytest.raises(UsageError, match=message):
        check_parts(lab.recipe(**{"model": "resnet18", **fields}))


def test_what_fits_is_not_refused(lab):
    check_parts(lab.recipe(model="resnet18", freeze="layer2", rates={"layer4": 2.0}))
    check_parts(lab.recipe(mode="scratch", model="smallnet", optimizer="muon"))
