from __future__ import annotations

import copy
import json
import math

import pytest
import torch

from ilk.errors import ModelError
from ilk.models.network import build
from ilk.training import state as states
from ilk.training.checkpoint import load, save
from ilk.training.scoring import Scores
from ilk.training.state import Best, EpochSums

SCALER = {"device": "cpu", "init_scale": 8.0, "growth_interval": 3}
VARIANTS = {
    "sgd": {"optimizer": "sgd"},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
    "muon": {"optimizer": "muon", "lr": 0.02},
    "muon from scratch": {"optimizer": "muon", "lr": 0.02, "mode": "scratch"},
    "average": {"optimizer": "adamw", "lr": 0.01, "ema": 0.9},
    "clip and decay": {"optimizer": "muon", "lr": 0.02, "clip": 0.5, "weight_decay": 0.1},
    "layer decay": {"layer_decay": 0.5, "rates": {"head": 3.0}},
    "mixing": {"mixup": 0.3, "cutmix": 1.0, "label_smoothing": 0.1, "augment": "trivial"},
    "thawing": {"freeze": "backbone", "unfreeze_every": 1, "ema": 0.9},
    "growing": {"imgsz_from": 8, "accumulate": 2, "batch": 2},
}


@pytest.fixture
def run(lab):
    """Return ``run(training, steps)``: take some steps, also into the next epoch, as `fit` does."""

    def take(training, steps):
        state, examples = training.state, training.examples
        for number in range(steps):
            if state.step == 0 or number == 0:
                training.step.begin_epoch(state)
            batch = lab.batch(examples, examples.train[4 * state.step : 4 * state.step + 4])
            sums = training.step(state, batch, lr_factor=1 - state.steps_done / 20)
            state.sums.add(sums.loss, sums.correct, sums.pictures)
            state.step += 1
            if state.step == state.steps_per_epoch:
                state.epoch, state.step, state.sums = state.epoch + 1, 0, EpochSums()
        return state

    return take


@pytest.mark.parametrize("variant", VARIANTS)
def test_restoring_goes_on_as_if_it_had_never_stopped(lab, run, variant):
    fields = VARIANTS[variant]
    unbroken = run(lab.training(**fields), 9)
    first = lab.training(**fields)
    kept = run(first, 6).snapshot()  # in the middle of the second epoch
    save(lab.folder / "one.safetensors", kept)
    second = lab.training(**fields)
    second.state.restore(load(lab.folder / "one.safetensors"))
    assert (second.state.epoch, second.state.step) == (1, 2)
    assert lab.differences(run(second, 3), unbroken) == []


def test_the_scaler_of_gradients_goes_on_too(lab, run):
    def scaled():
        training = lab.training(clip=1.0)
        training.state.scaler = torch.amp.GradScaler(**SCALER)
        return training

    unbroken = run(scaled(), 8)
    assert unbroken.scaler.get_scale() > 8
    first = scaled()
    kept = run(first, 5).snapshot()
    second = scaled()
    second.state.restore(load_json(kept))
    assert second.state.scaler.state_dict() == first.state.scaler.state_dict()
    assert lab.differences(run(second, 3), unbroken) == []
    assert second.state.scaler.state_dict() == unbroken.scaler.state_dict()


def load_json(snapshot):
    """Return the snapshot as a file gives it back."""
    return snapshot._replace(facts=json.loads(json.dumps(snapshot.facts)))


def test_a_restored_average_and_network_are_both_as_they_were(lab, run):
    first = lab.training(ema=0.9)
    run(first, 3)
    second = lab.training(ema=0.9)
    second.state.restore(first.state.snapshot())
    for one, other in (
        (first.state.network, second.state.network),
        (first.state.model, second.state.model),
    ):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name])
    different = first.state.network.head.weight != first.state.model.head.weight
    assert different.any()


def test_a_snapshot_does_not_change_when_the_training_goes_on(lab, run):
    training = lab.training(optimizer="adamw", ema=0.9)
    run(training, 2)
    training.state.best = Best(1, Scores(0.5, 0.5, 0.5, 6), training.state.weights())
    taken = training.state.snapshot()
    before = copy.deepcopy(taken)
    run(training, 3)
    assert taken.facts == before.facts
    assert all(torch.equal(taken.tensors[k], before.tensors[k]) for k in before.tensors)
    assert not torch.equal(
        taken.tensors["network.head.weight"], training.state.network.head.weight.cpu()
    )


def test_the_tensors_of_a_snapshot_share_no_memory_and_lie_in_order(lab, run):
    tensors = run(lab.training(ema=0.9), 1).snapshot().tensors
    places = {t.untyped_storage().data_ptr() for t in tensors.values() if t.numel()}
    assert len(places) == len(tensors)
    assert all(t.is_contiguous() and t.device.type == "cpu" for t in tensors.values())


def test_the_facts_of_a_snapshot_are_json_and_come_back_as_they_were(lab):
    state = lab.training().fit()
    facts = state.snapshot().facts
    assert json.loads(json.dumps(facts)) == facts
    other = lab.training().state
    other.restore(state.snapshot())
    assert [lab.timeless(r) for r in other.history] == [lab.timeless(r) for r in state.history]
    assert other.best.scores == state.best.scores
    assert all(torch.equal(v, state.best.weights[k]) for k, v in other.best.weights.items())


def test_the_rate_of_the_last_step_is_remembered(lab, run):
    first = lab.training(rates={"head": 3.0})
    run(first, 2)
    second = lab.training(rates={"head": 3.0})
    second.state.restore(load_json(first.state.snapshot()))
    assert second.state.lr == first.state.lr == pytest.approx(0.05 * 3 * 0.95)


def test_time_spent_adds_up_over_sessions(lab, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(states.time, "monotonic", lambda: clock[0])
    first = lab.training().state
    first.started = clock[0]
    clock[0] += 7
    taken = first.snapshot()
    clock[0] += 1000
    second = lab.training().state
    second.restore(taken)
    clock[0] += 2
    assert second.seconds == 9


def test_the_time_left_is_judged_by_the_time_spent(lab, monkeypatch):
    state = lab.training().state
    monkeypatch.setattr(states.time, "monotonic", lambda: state.started + 30)
    state.epoch, state.step = 0, 3
    assert state.total_steps == 12
    assert state.seconds_left == pytest.approx(90)


@pytest.mark.parametrize(
    ("other", "ema"), [("plain", None), ("tiny", 0.9)], ids=["another backbone", "no average"]
)
def test_a_snapshot_of_another_network_is_refused(lab, other, ema):
    taken = lab.training(name=other).state.snapshot()
    with pytest.raises(ModelError, match="The checkpoint belongs to another network"):
        lab.training(ema=ema).state.restore(taken)


def test_the_model_is_the_average_if_there_is_one(lab, run):
    state = run(lab.training(ema=0.9), 2)
    assert state.model is state.average.module
    assert torch.equal(state.weights()["head.weight"], state.average.module.head.weight)
    plain = run(lab.training(), 2)
    assert plain.model is plain.network


def test_the_average_lags_behind_the_network(lab, run):
    """After many steps of a small change the average lies between the start and the end."""
    training = lab.training(ema=0.9)
    first = training.state.network.head.weight.detach().clone()
    run(training, 6)
    last = training.state.network.head.weight.detach()
    average = training.state.average.module.head.weight.detach()
    assert (average - first).norm() < (last - first).norm()
    assert (average - last).norm() < (first - last).norm()


def test_the_bundle_holds_the_best_weights_else_those_of_now(lab, run):
    training = lab.training()
    state = run(training, 2)
    assert torch.equal(build(state.bundle()).head.weight, state.network.head.weight)
    state.best = Best(1, Scores(0.5, 0.5, 0.5, 6), state.weights())
    best = state.network.head.weight.detach().clone()
    run(training, 2)
    assert torch.equal(build(state.bundle()).head.weight, best)
    assert not torch.equal(state.network.head.weight, best)


@pytest.mark.parametrize(("total", "epochs"), [(12, 3), (11, 3), (9, 3), (8, 2), (1, 1)])
def test_the_last_epoch_may_be_cut_short(lab, total, epochs):
    state = lab.training().state
    state.total_steps = total
    assert state.epochs == epochs
    for epoch in range(epochs):
        state.epoch = epoch
        assert not state.done
    state.epoch = epochs
    assert state.done


def test_after_its_last_step_an_epoch_is_not_done_before_it_was_scored(lab):
    state = lab.training().state
    state.epoch, state.step = 2, 4
    assert state.steps_done == state.total_steps
    assert not state.done


def test_sums_of_an_epoch_add_up():
    sums = EpochSums()
    sums.add(4.0, 3, 4)
    sums.add(8.0, 0, 2)
    assert sums == EpochSums(loss=12.0, correct=3, pictures=6)
    assert math.isclose(sums.loss / sums.pictures, 2.0)
