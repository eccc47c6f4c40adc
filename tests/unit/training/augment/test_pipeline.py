from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from ilk.errors import UsageError
from ilk.training.augment import transforms
from ilk.training.augment.pipeline import KINDS, Augment, mix

ROWS = torch.arange(1000)
few = settings(max_examples=15, deadline=None)
kinds = pytest.mark.parametrize("kind", KINDS)


def noise(number=6, height=16, width=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, height, width, 3), dtype=torch.uint8, generator=draw)


def augmented(pixels, draws=0, epoch=0, seed=0, rows=None, **options):
    rows = ROWS[: len(pixels)] if rows is None else rows
    return Augment(**options)(pixels, rows, epoch, seed, torch.Generator().manual_seed(draws))


def which_mirrored(pixels, changed):
    same = (changed == pixels).flatten(1).all(1)
    mirrored = (changed == pixels.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    return mirrored


def mixed(pixels, targets, classes=5, mixup=0.0, cutmix=0.0, draws=0):
    generator = torch.Generator().manual_seed(draws)
    return mix(pixels, targets, classes, mixup, cutmix, generator)


# --- every kind -----------------------------------------------------------------------------------


@kinds
@few
@given(
    number=st.integers(0, 5),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    strength=st.floats(0, 3),
    draws=st.integers(0, 2**32),
)
def test_pictures_stay_pictures(kind, number, height, width, strength, draws):
    pixels = noise(number, height, width)
    before = pixels.clone()
    changed = augmented(pixels, draws, kind=kind, strength=strength)
    assert changed.shape == pixels.shape
    assert changed.dtype == torch.uint8
    assert changed.is_contiguous()
    assert torch.equal(pixels, before)


@kinds
def test_equal_draws_give_equal_pictures_and_others_give_others(kind):
    pixels = noise(40)
    first = augmented(pixels, 1, kind=kind)
    assert torch.equal(first, augmented(pixels, 1, kind=kind))
    assert not torch.equal(first, augmented(pixels, 2, kind=kind))


@kinds
def test_draws_do_not_depend_on_global_state(kind):
    pixels = noise()
    torch.manual_seed(1)
    first = augmented(pixels, kind=kind)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, augmented(pixels, kind=kind))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@kinds
def test_strength_0_without_flips_changes_nothing(kind):
    pixels = noise()
    assert torch.equal(augmented(pixels, kind=kind, strength=0.0, flip=0.0), pixels)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_a_little_strength_changes_little(kind):
    smooth = torch.arange(0, 256, 4, dtype=torch.uint8)[:, None, None].expand(28, 64, 64, 3)
    changed = augmented(smooth.contiguous(), kind=kind, strength=0.001, flip=0.0)
    inner = (slice(None), slice(1, -1), slice(1, -1))  # trivial draws grey in at the edges
    assert (changed[inner].int() - smooth[inner].int()).abs().max() <= 1


@kinds
def test_strength_0_leaves_the_flips(kind):
    pixels = noise()
    assert torch.equal(augmented(pixels, kind=kind, strength=0.0, flip=1.0), pixels.flip(2))


@kinds
def test_working_in_parts_changes_nothing(kind, monkeypatch):
    pixels = noise(30)
    whole = augmented(pixels, kind=kind)
    monkeypatch.setattr(transforms, "PART", 2 * pixels[0].numel() + 1)
    parts = augmented(pixels, kind=kind)
    assert (whole.int() - parts.int()).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@kinds
def test_a_gpu_gives_the_same(kind):
    pixels = noise(60)
    here = augmented(pixels, kind=kind)
    there = augmented(pixels.cuda(), kind=kind)
    assert there.is_cuda
    assert (here.int() - there.cpu().int()).abs().max() <= 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match=r"'heavy'.*none, light, brightness, .*trivial"):
        Augment("heavy")


# --- flips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flip", "least", "most"), [(0, 0, 0), (0.3, 240, 360), (1, 1000, 1000)])
def test_flip_is_the_share_that_is_mirrored(flip, least, most):
    pixels = noise(1000, 2, 2)
    mirrored = which_mirrored(pixels, augmented(pixels, kind="none", flip=flip))
    assert least <= mirrored.sum() <= most


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000), draws=st.integers(0, 99))
@few
def test_alternate_flips_are_opposite_in_successive_epochs(seed, epoch, draws):
    pixels = noise(1000, 1, 4)
    options = {"kind": "none", "alternate": True, "seed": seed}
    now = augmented(pixels, draws, epoch, **options)
    then = augmented(pixels, draws + 1, epoch + 1, **options)
    mirrored = which_mirrored(pixels, now)
    assert torch.equal(mirrored, ~which_mirrored(pixels, then))
    assert 400 < mirrored.sum() < 600


def test_alternate_flips_follow_the_row_wherever_it_is_in_a_batch():
    pixels, order = noise(50), torch.randperm(50, generator=torch.Generator().manual_seed(0))
    options = {"kind": "none", "alternate": True}
    straight = augmented(pixels, **options)
    shuffled = augmented(pixels[order], 9, rows=order, **options)
    assert torch.equal(straight[order], shuffled)


def test_alternate_flips_of_another_seed_are_others():
    pixels = noise(1000, 1, 4)
    one, two = (
        which_mirrored(pixels, augmented(pixels, kind="none", alternate=True, seed=seed))
        for seed in (0, 1)
    )
    assert 400 < (one ^ two).sum() < 600


def test_alternate_does_not_mirror_where_flip_is_0():
    pixels = noise()
    for epoch in (0, 1):
        changed = augmented(pixels, epoch=epoch, kind="none", flip=0.0, alternate=True)
        assert torch.equal(changed, pixels)


# --- light ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "most"), [(1.0, 4), (0.5, 2), (2.0, 8)])
def test_light_gives_each_window_of_the_padded_picture_equally_often(strength, most):
    pixels = noise(1, 32, 32)
    padded = torch.nn.functional.pad(
        pixels.permute(0, 3, 1, 2).float(), [most] * 4, mode="reflect"
    ).permute(0, 2, 3, 1)[0]
    windows = {
        padded[y : y + 32, x : x + 32].byte().numpy().tobytes(): (x, y)
        for y in range(2 * most + 1)
        for x in range(2 * most + 1)
    }
    changed = augmented(pixels.expand(1000, -1, -1, -1), strength=strength, flip=0.0)
    found = Counter(windows[picture.numpy().tobytes()] for picture in changed)
    for axis in (0, 1):
        counts = Counter()
        for place, count in found.items():
            counts[place[axis]] += count
        expected = 1000 / (2 * most + 1)
        assert len(counts) == 2 * most + 1
        assert all(0.5 * expected < count < 1.6 * expected for count in counts.values())


def test_a_shift_moves_right_and_down_and_then_mirrors():
    pixels = noise(2, 8, 6)
    right, down = torch.tensor([2, -1]), torch.tensor([1, -3])
    shifted = transforms.shift(pixels, right, down, torch.tensor([False, True]))
    assert torch.equal(shifted[0, 1:, 2:], pixels[0, :-1, :-2])
    assert torch.equal(shifted[0, 1:, 0], pixels[0, :-1, 2])  # reflected, its edge not repeated
    assert torch.equal(shifted[1].flip(1)[:-3, :-1], pixels[1, 3:, 1:])


# --- colour ---------------------------------------------------------------------------------------


def test_colour_jitters_brightness_contrast_and_saturation_of_each_picture():
    pixels = torch.tensor([95, 70, 55], dtype=torch.uint8).repeat(500, 16, 16, 1)
    pixels[:, 8:] += 50
    changed = augmented(pixels, kind="colour")[:, [0, -1], 0].float()
    dark, light = changed.unbind(1)
    # Light shifts by up to 2 rows, which moves the mean of grey that contrast starts from a little.
    grey = changed @ torch.tensor(transforms.LUMA)
    brightness = grey.mean(1) / 100.7
    contrast = (grey[:, 1] - grey[:, 0]) / 50 / brightness
    saturation = (dark[:, 0] - dark[:, 2]) / 40 / brightness / contrast
    for factor in (brightness, contrast, saturation):
        assert 0.5 < factor.min() < 0.68
        assert 1.32 < factor.max() < 1.55
        assert abs(factor.mean() - 1) < 0.06
    together = torch.stack((brightness, contrast, saturation))
    assert (torch.corrcoef(together) - torch.eye(3)).abs().max() < 0.2
    assert (light > dark).all()


@pytest.mark.parametrize(
    ("name", "pillow"),
    [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")],
)
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_factors_mean_what_they_mean_in_pillow(name, pillow, factor):
    pixels = noise(3)
    changed = getattr(transforms, name)(pixels.float(), torch.full((3,), factor))
    for before, after in zip(pixels.numpy(), changed.numpy(), strict=True):
        expected = getattr(ImageEnhance, pillow)(Image.fromarray(before)).enhance(factor)
        assert np.abs(np.asarray(expected) - after).max() < 1.5  # Pillow cuts off decimals


# --- crops ----------------------------------------------------------------------------------------


def coordinates(number, size=64):
    """Pictures whose red says where it was from left to right, and green from top to bottom."""
    ramp = torch.linspace(0, 252, size).round().byte()
    picture = torch.zeros(size, size, 3, dtype=torch.uint8)
    picture[..., 0], picture[..., 1] = ramp, ramp[:, None]
    return picture.expand(number, -1, -1, -1).contiguous()


def test_crops_are_parts_of_the_area_and_aspect_asked_for():
    changed = augmented(coordinates(500), kind="crops", flip=0.0).float()
    middle = changed[:, 32, :, 0], changed[:, :, 32, 1]
    width, height = ((line[:, -4] - line[:, 3]) / 252 * 63 / 57 for line in middle)
    area, aspect = width * height, width / height
    assert 0.33 < area.min() < 0.40
    assert 0.97 < area.max() < 1.02
    assert abs(area.mean() - 0.675) < 0.03
    assert 0.72 < aspect.min() < 0.82
    assert 1.22 < aspect.max() < 1.37
    assert changed[:, 3, 3, 0].min() < 15
    assert changed[:, -4, -4, 1].max() > 237


def test_crops_show_nothing_from_outside():
    white = torch.full((50, 16, 16, 3), 255, dtype=torch.uint8)
    assert augmented(white, kind="crops").min() == 255
    changed = augmented(coordinates(300), kind="crops", flip=0.0).int()
    for step in (changed[:, 32, 1:, 0].diff(dim=1), changed[:, 1:, 32, 1].diff(dim=1)):
        assert step[:, :-1].min() > 0  # an edge drawn out would stand still


def test_crops_are_mirrored_as_asked():
    straight, mirrored = (augmented(coordinates(20), kind="crops", flip=flip) for flip in (0, 1))
    assert (straight.flip(2).int() - mirrored.int()).abs().max() <= 1


def test_stronger_crops_are_smaller():
    widths = []
    for strength in (0.2, 1.0, 3.0):
        changed = augmented(coordinates(50), kind="crops", strength=strength, flip=0.0).float()
        widths.append(float((changed[:, 32, -1, 0] - changed[:, 32, 0, 0]).mean()))
    assert widths[0] > widths[1] > widths[2] > 60


# --- trivial --------------------------------------------------------------------------------------


def test_trivial_draws_one_operation_a_picture():
    pixels = noise(1, 24, 24).expand(700, -1, -1, -1)
    changed = augmented(pixels, kind="trivial", flip=0.0)
    same = (changed == pixels).flatten(1).all(1).float().mean()
    # One in 14 draws the identity, and a few change noise by nothing.
    assert 1 / 14 - 0.03 < same < 0.25
    assert len({picture.numpy().tobytes() for picture in changed}) > 400


# --- mix ------------------------------------------------------------------------------------------


def test_without_mixing_targets_are_hard_and_pictures_the_same():
    pixels, targets = noise(4), torch.tensor([0, 2, 4, 2])
    same, soft = mixed(pixels, targets)
    assert torch.equal(same, pixels)
    assert torch.equal(soft, torch.eye(5)[targets])


@few
@given(
    alphas=st.tuples(*[st.sampled_from([0.0, 0.1, 1.0, 5.0])] * 2),
    number=st.integers(1, 8),
    draws=st.integers(0, 2**32),
)
def test_mixing_conserves_the_mass_of_targets(alphas, number, draws):
    targets = torch.arange(number) % 5
    pixels = noise(number)
    mixture, soft = mixed(pixels, targets, 5, *alphas, draws=draws)
    assert mixture.shape == pixels.shape
    assert mixture.dtype == torch.uint8
    assert mixture.is_contiguous()
    assert soft.dtype == torch.float32
    assert soft.min() >= 0
    assert torch.allclose(soft.sum(1), torch.ones(number))
    assert torch.allclose(soft.sum(0), torch.eye(5)[targets].sum(0))
    again = mixed(pixels, targets, 5, *alphas, draws=draws)
    assert torch.equal(again[0], mixture)
    assert torch.equal(again[1], soft)


@few
@given(draws=st.integers(0, 2**32))
def test_mixup_is_the_weighted_mean_that_the_targets_tell(draws):
    pixels = noise(6).float()
    mixture, soft = mixed(pixels.byte(), torch.arange(6), 6, mixup=1.0, draws=draws)
    expected = torch.einsum("ij,jhwc->ihwc", soft, pixels)
    assert (mixture - expected).abs().max() <= 0.51


@few
@given(draws=st.integers(0, 2**32))
def test_cutmix_pastes_a_box_whose_area_the_targets_tell(draws):
    # Picture i is all i, so that each pixel tells whose it is.
    pixels = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 20, 12, 3)
    mixture, soft = mixed(pixels, torch.arange(6), 6, cutmix=1.0, draws=draws)
    counts = torch.stack([(mixture[..., 0] == i).float().mean((1, 2)) for i in range(6)], 1)
    assert torch.allclose(counts, soft)
    partner = (soft - torch.diag(soft.diagonal())).argmax(1)
    foreign = mixture[..., 0] != torch.arange(6)[:, None, None]
    for i in range(6):
        rows, columns = foreign[i].any(1), foreign[i].any(0)
        assert torch.equal(foreign[i], rows[:, None] & columns)
        assert (mixture[i][foreign[i]] == partner[i]).all()
    assert pixels[0].max() == 0


def test_cutmix_boxes_are_as_large_as_their_share_before_the_edges_cut_them():
    pixels, targets = noise(8, 32, 32), torch.arange(8)
    pasted = [
        1 - float(mixed(pixels, targets, 8, cutmix=1.0, draws=draws)[1].diagonal().min())
        for draws in range(400)
    ]
    # A box of area t, uniform in 0..1, about a uniform point keeps (sqrt(t) - t / 4)^2 on average.
    assert abs(sum(pasted) / 400 - 77 / 240) < 0.05


def test_a_coin_chooses_between_mixup_and_cutmix():
    pixels = 255 * torch.arange(2, dtype=torch.uint8)[:, None, None, None].expand(2, 9, 9, 3)
    cuts = sum(
        set(mixed(pixels, torch.arange(2), 2, 1.0, 1.0, draws)[0].unique().tolist()) <= {0, 255}
        for draws in range(200)
    )
    assert 75 < cuts < 165  # mixup, too, leaves some batches as they are


def test_the_share_follows_beta():
    pixels = noise(2, 1, 1)
    own = []
    for draws in range(300):
        soft = mixed(pixels, torch.arange(2), 2, mixup=0.2, draws=draws)[1]
        own.append(float(soft.max()))
    # The larger part of Beta(0.2, 0.2): mostly nearly all.
    assert torch.tensor(own).median() > 0.95
    assert min(own) < 0.65
