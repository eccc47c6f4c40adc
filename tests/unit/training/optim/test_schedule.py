from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.training.optim.schedule import image_size, lr_factor, smoothing

SCHEDULES = ["step", "cosine", "onecycle", "linear", "constant"]
FALLING_TO_ZERO = ["cosine", "onecycle", "linear"]

per_epoch, epochs = st.integers(1, 40), st.integers(1, 30)
warmups = st.floats(0, 40)


def recipe_of(**fields):
    return Recipe(mode="finetune", **fields)


def factors_of(recipe, per_epoch, epochs):
    total = per_epoch * epochs
    return [lr_factor(recipe, step, per_epoch, total) for step in range(total)]


@given(st.sampled_from(SCHEDULES), per_epoch, epochs, warmups)
def test_factors_are_above_zero_and_at_most_one(schedule, per_epoch, epochs, warmup):
    recipe = recipe_of(schedule=schedule, warmup=warmup)
    assert all(0 < f <= 1 for f in factors_of(recipe, per_epoch, epochs))


@given(st.sampled_from(SCHEDULES), per_epoch, epochs, st.floats(0, 1))
def test_the_rate_rises_at_first_and_falls_from_then_on(schedule, per_epoch, epochs, warmup):
    recipe = recipe_of(schedule=schedule, warmup=warmup * epochs, step_every=30)
    factors = factors_of(recipe, per_epoch, epochs)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@given(st.sampled_from(SCHEDULES), st.integers(10, 40), st.floats(0.1, 5))
def test_there_is_no_jump_at_the_end_of_the_warmup(schedule, per_epoch, warmup):
    recipe = recipe_of(schedule=schedule, warmup=warmup, step_every=10)
    factors = factors_of(recipe, per_epoch, 10)
    steepest = max(1 / (warmup * per_epoch), 3 / (10 - warmup) / per_epoch)
    assert all(abs(b - a) <= steepest + 1e-9 for a, b in itertools.pairwise(factors))
    assert max(factors) == pytest.approx(1, abs=steepest)


@given(st.sampled_from(FALLING_TO_ZERO), per_epoch, epochs, warmups)
def test_it_ends_at_zero(schedule, per_epoch, epochs, warmup):
    recipe = recipe_of(schedule=schedule, warmup=min(warmup, epochs - 0.5))
    total = per_epoch * epochs
    assert lr_factor(recipe, total, per_epoch, total) == pytest.approx(0, abs=1e-12)


def test_without_warmup_the_first_step_has_the_peak_rate():
    for schedule in ("step", "cosine", "linear", "constant"):
        assert lr_factor(recipe_of(schedule=schedule), 0, 10, 100) == 1


def test_warmup_is_linear_over_its_epochs_which_may_be_fractions():
    recipe = recipe_of(schedule="constant", warmup=0.4)
    assert factors_of(recipe, 10, 2)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_a_warmup_longer_than_a_short_training_bears_is_shortened():
    factors = factors_of(recipe_of(schedule="linear", warmup=1.0), 10, 1)
    assert factors[3] == pytest.approx(1)
    assert factors[-1] < 0.2


def test_linear_and_cosine_are_half_way_down_in_the_middle():
    for schedule in ("linear", "cosine"):
        assert lr_factor(recipe_of(schedule=schedule), 50, 10, 100) == pytest.approx(0.5)
        recipe = recipe_of(schedule=schedule, warmup=2)
        assert lr_factor(recipe, 60, 10, 100) == pytest.approx(0.5)


def optimizer_at_one():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_the_step_schedule_is_torchs():
    recipe = recipe_of(schedule="step", step_every=3, step_factor=0.5)
    optimizer = optimizer_at_one()
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for epoch in range(10):
        for step in range(4):
            ours = lr_factor(recipe, epoch * 4 + step, 4, 40)
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_cosine_is_torchs():
    optimizer = optimizer_at_one()
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for ours in factors_of(recipe_of(schedule="cosine"), 4, 10):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warmup, peak", [(0.0, 30), (2.0, 20)])
def test_onecycle_rises_from_a_25th_over_its_first_part(warmup, peak):
    factors = factors_of(recipe_of(schedule="onecycle", warmup=warmup), 10, 10)
    assert factors[0] == pytest.approx(1 / 25)
    assert factors.index(max(factors)) == peak
    assert factors[peak] == 1
    assert factors[-1] < 0.001


@given(st.integers(8, 300), st.integers(8, 300), st.integers(1, 500), st.integers(0, 500))
def test_sizes_grow_in_multiples_of_eight(a, b, total, step):
    first, imgsz = sorted((a, b))
    recipe = recipe_of(imgsz_from=first)
    size = image_size(recipe, imgsz, step, total)
    assert first <= size <= imgsz
    assert size % 8 == 0 or size in (first, imgsz)
    assert size <= image_size(recipe, imgsz, step + 1, total)


def test_the_full_size_is_reached_after_two_thirds():
    sizes = [image_size(recipe_of(imgsz_from=16), 32, step, 90) for step in range(90)]
    assert sizes == [16] * 30 + [24] * 30 + [32] * 30


def test_without_a_smaller_size_to_begin_with_it_stays():
    assert image_size(recipe_of(), 225, 0, 10) == 225


def test_a_larger_size_to_begin_with_is_refused():
    with pytest.raises(UsageError, match=r"64 is larger than imgsz, which is 32"):
        image_size(recipe_of(imgsz_from=64), 32, 0, 10)


def test_label_smoothing_stays_unless_it_is_to_fade():
    recipe = recipe_of(label_smoothing=0.2)
    assert {smoothing(recipe, step, 10) for step in range(10)} == {0.2}


def test_label_smoothing_fades_evenly_and_stays_away():
    recipe = recipe_of(label_smoothing=0.2, smoothing_until=0.5)
    found = [smoothing(recipe, step, 8) for step in range(8)]
    assert found == pytest.approx([0.2, 0.15, 0.1, 0.05, 0, 0, 0, 0])
