from __future__ import annotations

import csv
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from ilk.training import find_rate as module
from ilk.training.examples import Examples
from ilk.training.find_rate import ABOVE, BELOW, SMOOTHING, STEPS, RangeTest, range_test
from ilk.training.step import Step, StepSums


@pytest.fixture
def find(lab, monkeypatch):
    """Return ``find(losses)``: a range test; the losses are those given, if any are."""

    def run(losses=None, examples=None, **fields):
        plan = lab.plan(**fields)
        rates = []
        if losses is not None:
            given = iter(losses)

            def step(self, state, batch, lr_factor):
                rates.append(lr_factor * (plan.recipe.lr or 0.01))
                return StepSums(next(given), 0, 1)

            monkeypatch.setattr(Step, "__call__", step)
        found = range_test(lab.start(), examples or lab.examples(), plan)
        return (found, rates) if losses is not None else found

    return run


def test_the_rate_rises_by_one_factor_a_step(find):
    found, rates = find([1.0] * STEPS)
    assert len(found.rates) == len(found.losses) == STEPS
    assert found.rates == pytest.approx(rates)
    assert found.rates[0] == pytest.approx(0.01 * BELOW)
    assert found.rates[-1] == pytest.approx(0.01 * ABOVE)
    factors = np.array(found.rates[1:]) / found.rates[:-1]
    np.testing.assert_allclose(factors, factors[0])


@pytest.mark.parametrize("lr", [None, 0.3])
def test_the_rates_are_those_of_the_optimizer_whatever_the_recipe_says(find, lr):
    found, _ = find([1.0] * STEPS, optimizer="adamw", lr=lr)
    assert found.rates[0] == pytest.approx(3e-4 * BELOW)


def test_a_network_is_really_trained_at_those_rates(lab, monkeypatch):
    seen = []
    real = Step.__call__

    def watched(self, state, *arguments):
        found = real(self, state, *arguments)
        seen.append(state.lr)
        return found

    monkeypatch.setattr(Step, "__call__", watched)
    found = range_test(lab.start(), lab.examples(), lab.plan(lr=0.3))
    assert seen[: len(found.rates)] == pytest.approx(found.rates)


FLAT = [1.0, 1.02, 0.98] * 4  # as the loss scatters before anything is learned


def test_losses_are_smoothed_without_a_bias_to_zero(find):
    found, _ = find([2.0] * STEPS)
    assert found.smoothed == pytest.approx([2.0] * STEPS)


def test_losses_are_smoothed_as_in_the_moving_average(find):
    given = np.random.default_rng(0).uniform(1, 2, STEPS)
    found, _ = find(given)
    weights = SMOOTHING ** np.arange(STEPS)[::-1]
    assert found.losses == pytest.approx(given)
    assert found.smoothed[-1] == pytest.approx((weights * given).sum() / weights.sum())
    assert found.smoothed[0] == pytest.approx(given[0])


@pytest.mark.parametrize("end", [1e6, math.nan, math.inf])
def test_it_stops_when_the_loss_explodes(find, end):
    found, _ = find(FLAT + [0.5] * 10 + [end])
    assert len(found.losses) == 22 + math.isfinite(end)
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    assert found.suggestion is not None
    assert all(map(math.isfinite, found.losses))


def test_a_loss_that_is_never_finite_suggests_nothing(find):
    found, _ = find([math.nan])
    assert (found.rates, found.suggestion) == ([], None)
    assert "exploded at once" in found.why_none


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_lowest_loss(find):
    found, _ = find(FLAT + [0.5] * 10 + [2.0] * (STEPS - 22))
    assert found.suggestion == float(f"{found.rates[21] / 10:.1e}")
    assert found.why_none == ""


def test_a_loss_that_only_scatters_suggests_nothing(find):
    given = np.random.default_rng(0).normal(1, 0.1, STEPS)
    found, _ = find(given.tolist())
    assert found.suggestion is None
    assert "At no learning rate" in found.why_none


def test_a_loss_that_only_rises_suggests_nothing(find):
    found, _ = find(FLAT + [1.0 + step / 10 for step in range(STEPS - 12)])
    assert found.suggestion is None
    assert "At no learning rate" in found.why_none


def test_a_loss_that_never_rises_again_suggests_nothing(find):
    found, _ = find(FLAT + [0.9**step for step in range(STEPS - 12)])
    assert found.suggestion is None
    assert "never rose" in found.why_none


def test_it_shows_how_far_it_has_come(lab):
    shown = []

    @contextmanager
    def progress(what, total):
        shown.append((what, total))
        yield lambda number, remark="": shown.append(number)

    found = range_test(lab.start(), lab.examples(), lab.plan(progress=progress))
    assert shown[0] == ("trying learning rates", STEPS)
    assert sum(shown[1:]) in (len(found.rates), len(found.rates) - 1)


def test_a_range_test_of_a_real_network_suggests_a_rate_that_trains_it(lab, find):
    found = find(examples=lab.examples(train=48))
    assert 1e-4 < found.suggestion < 1
    training = lab.training(examples=lab.examples(train=48), lr=found.suggestion)
    history = training.fit().history
    assert history[-1].loss < history[0].loss


def test_it_goes_through_the_pictures_as_often_as_it_takes(find, monkeypatch):
    epochs = []
    real = Examples.epoch_batches

    def watched(examples, recipe, epoch):
        epochs.append(epoch)
        return real(examples, recipe, epoch)

    monkeypatch.setattr(Examples, "epoch_batches", watched)
    find([1.0] * STEPS)  # 4 steps an epoch
    assert epochs == list(range(STEPS // 4))


def test_the_same_seed_finds_the_same_and_nothing_global_is_changed(find, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 12)
    torch.manual_seed(1)
    one = find()
    torch.manual_seed(2)
    assert find() == one
    assert find(seed=1) != one
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_table_and_a_plot_are_written(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "plot_range", lambda *given: drawn.append(given))
    found = RangeTest([0.001, 0.01], [3.0, 1.0], [3.0, 2.0], 0.001)
    found.write(tmp_path)
    lines = list(csv.reader((tmp_path / "lr_find.csv").read_text().splitlines()))
    assert lines == [
        ["lr", "loss", "smoothed_loss"],
        ["0.001", "3.0", "3.0"],
        ["0.01", "1.0", "2.0"],
    ]
    assert drawn == [(found.rates, found.smoothed, 0.001, tmp_path / "plots" / "lr_find.png")]


def test_a_test_that_saw_nothing_is_written_too(tmp_path):
    RangeTest([], [], [], None).write(tmp_path)
    assert (tmp_path / "lr_find.csv").read_text().split() == ["lr,loss,smoothed_loss"]
    assert (tmp_path / "plots" / "lr_find.png").stat().st_size > 0
