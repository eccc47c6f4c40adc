from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from ilk.spec import Preprocess
from ilk.training import budget as module
from ilk.training.budget import SLACK, TRIALS, affordable_steps
from ilk.training.distributed import World
from ilk.training.optim.schedule import image_size


class Clock:
    """Moves only when somebody works."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module.time, "perf_counter", made)
    return made


@pytest.fixture
def afford(lab, clock):
    """Return ``afford(budget, steps, scoring)``: seconds of each trial step, of a val picture.

    The seconds of a step may also be a function of the state.
    """

    def run(budget, steps=(9.0, 0.5, 0.5, 0.5), scoring=0.0, val=6, train=16, imgsz=8, **fields):
        examples = lab.examples(train, val)
        training = lab.training(examples=examples, budget=budget, epochs=None, **fields)
        given = iter(() if callable(steps) else steps)
        seconds = steps if callable(steps) else lambda _: next(given)
        preprocess = Preprocess(imgsz=imgsz)
        training.state.spec = training.state.spec.model_copy(update={"preprocess": preprocess})
        inner = lab.step(training.recipe, examples, imgsz)

        class Timed:
            begin_epoch = inner.begin_epoch

            def __call__(self, state, *arguments):
                clock.now += seconds(state)
                return inner(state, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            scored = module.outputs_of

            def slow(network, source, indices, **options):
                clock.now += scoring * len(indices)
                return scored(network, source, indices, **options)

            patch.setattr(module, "outputs_of", slow)
            return affordable_steps(training.state, examples, training.plan, Timed())

    return run


def test_as_many_steps_fit_as_time_allows(afford):
    assert afford("10s") == int(SLACK * 10 / 0.5)
    assert afford("1m") == int(SLACK * 60 / 0.5)


def test_the_first_step_and_a_single_slow_one_do_not_count(afford):
    assert afford("10s", steps=(500.0, 0.5, 8.0, 0.5)) == int(SLACK * 10 / 0.5)


def test_the_time_that_scoring_takes_is_spared(afford):
    # An epoch: 4 steps of 0.5 s and 24 val pictures of 0.25 s, judged by 8 of them.
    assert afford("80s", scoring=0.25, val=24) == int(SLACK * 80 / 8 * 4)


def test_without_pictures_to_choose_by_nothing_is_spared(afford):
    assert afford("10s", scoring=100.0, val=0) == int(SLACK * 10 / 0.5)


def test_a_budget_too_small_for_a_step_buys_one(afford):
    assert afford("1s", steps=[60.0] * TRIALS) == 1


def test_fewer_batches_than_trials_suffice(afford):
    assert afford("10s", train=4) == int(SLACK * 10 / 0.5)


def test_accumulated_batches_are_one_step(afford):
    assert afford("10s", batch=4, accumulate=2) == int(SLACK * 10 / 0.5)


def test_steps_of_small_pictures_count_as_they_are(lab, afford):
    recipe, timed = lab.recipe(imgsz_from=8), []

    def seconds(state):
        timed.append(image_size(recipe, 16, state.steps_done, state.total_steps))
        return {8: 0.25, 16: 1.0}[timed[-1]]

    # Two thirds of the steps are of 8 pixels.
    steps = afford("60s", seconds, val=0, imgsz=16, imgsz_from=8)
    assert steps == int(SLACK * 60 / 0.5)
    assert timed == [16] * TRIALS + [8] * TRIALS  # each size is timed once


def test_steps_before_everything_is_unfrozen_count_as_they_are(afford):
    def seconds(state):
        return 0.1 * sum(p.requires_grad for p in state.network.parameters())

    steps = afford("20s", seconds, val=0, freeze="backbone", unfreeze_every=1)
    # 4 steps an epoch; the head has 2 parameters, and each of the next 4 epochs unfreezes 2 more.
    in_fact = [0.2, 0.4, 0.6, 0.8] + [1.0] * 9
    assert sum(in_fact[step // 4] for step in range(steps)) <= SLACK * 20
    assert steps > 1.2 * SLACK * 20 / 1.0  # what would fit if everything were unfrozen at once


def test_what_was_found_is_told(afford, caplog):
    caplog.set_level(logging.INFO, "ilk")
    afford("1m30s")
    assert caplog.messages == [
        "A step takes 0.50 s, an epoch with validation 2.0 s: training for 42.8 epochs in 1m30s"
    ]


def test_the_trial_leaves_no_trace_in_the_training_to_come(lab):
    untried = lab.training(epochs=1).fit()
    training = lab.training(epochs=1)
    trial = lab.training(epochs=1, budget="10s")
    affordable_steps(trial.state, training.examples, trial.plan, trial.step)
    assert not torch.equal(trial.state.network.head.weight, training.state.network.head.weight)
    assert lab.differences(training.fit(), untried) == []


def test_all_processes_use_the_times_of_the_main_process(lab):
    class Other(World):
        def broadcast(self, compute):
            return 0.25  # seconds of a step and of validation, in the main process

    training = lab.training(budget="10s", epochs=None)
    plan = replace(training.plan, world=Other(0, 1))
    steps = affordable_steps(training.state, training.examples, plan, training.step)
    assert steps == int(SLACK * 10 / (0.25 + 0.25 / 4))
