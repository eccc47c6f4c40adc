from __future__ import annotations

import csv
import dataclasses
import errno
import math
import os
import re
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
import torch

from ilk.errors import DataError, Interrupted, TrainingError
from ilk.models.network import build
from ilk.training import checkpoint, train_network
from ilk.training.checkpoint import Checkpoints
from ilk.training.distributed import World
from ilk.training.history import Row
from ilk.training.loop import Trainer
from ilk.training.pixels import CachedPixels
from ilk.training.scoring import Scores, scores_of
from ilk.training.state import Best

RICH = {
    "optimizer": "muon", "lr": 0.02, "ema": 0.9, "augment": "trivial", "mixup": 0.2, "warmup": 1.0,
    "label_smoothing": 0.1, "clip": 1.0, "weight_decay": 0.01,
}  # fmt: skip


def resumed(lab, snapshot, **fields):
    training = lab.training(**fields)
    training.state.restore(snapshot)
    return training.fit()


def test_a_training_resumed_from_any_step_ends_as_if_it_had_never_stopped(lab):
    checkpoints = lab.every_step()
    unbroken = lab.training(checkpoints=checkpoints, **RICH).fit()
    places = [(s.facts["epoch"], s.facts["step"]) for s in checkpoints.kept]
    edges = [(epoch, step) for epoch in range(1, 4) for step in range(5)][:11]
    assert places == [(0, 1), (0, 2), (0, 3), (0, 4), *edges, (3, 0)]
    for snapshot in checkpoints.kept:
        assert lab.differences(resumed(lab, snapshot, **RICH), unbroken) == []


def test_a_training_resumed_at_the_edge_of_an_epoch_ends_the_same(lab):
    checkpoints = lab.every_step()
    checkpoints.due = lambda: False
    checkpoints.keeps_epoch = lambda _: True
    unbroken = lab.training(checkpoints=checkpoints, **RICH).fit()
    assert [(s.facts["epoch"], s.facts["step"]) for s in checkpoints.kept] == [
        (1, 0), (2, 0), (3, 0), (3, 0),
    ]  # fmt: skip
    for snapshot in checkpoints.kept:
        assert lab.differences(resumed(lab, snapshot, **RICH), unbroken) == []


def test_two_trainings_of_one_seed_are_the_same_and_another_seed_is_another(lab):
    torch.manual_seed(1)
    one = lab.training(**RICH).fit()
    torch.manual_seed(2)
    np.random.seed(2)
    assert lab.differences(lab.training(**RICH).fit(), one) == []
    assert lab.differences(lab.training(**RICH, seed=1).fit(), one) != []


@pytest.fixture
def session(lab):
    """Return ``session(resume, stop_after)``: a whole training by `train_network`."""

    def run(resume=False, stop_after=None, **fields):
        plan = dataclasses.replace(lab.plan(**fields), resume=resume)
        with pytest.MonkeyPatch.context() as patch:
            if stop_after is not None:
                patch.setattr(train_network, "Interrupt", stopping(stop_after))
            return train_network.train_network(lab.start(), lab.examples(), plan)

    return run


def stopping(steps):
    """Return an Interrupt that comes after so many steps."""

    class Stopping(train_network.Interrupt):
        asked = 0

        def requested(self):
            self.asked += 1
            return self.asked == steps

    return Stopping


def test_a_training_interrupted_again_and_again_ends_as_if_it_had_never_been(
    lab, session, tmp_path
):
    unbroken = session(**RICH)
    lab.folder = tmp_path / "other"
    lab.folder.mkdir()
    for steps in (1, 3, 4, 2):  # in an epoch, at its edge, in the next
        with pytest.raises(Interrupted):
            session(resume=True, stop_after=steps, **RICH)
    last = session(resume=True, **RICH)
    assert lab.differences(last, unbroken) == []
    assert [row.step for row in last.history] == [4, 8, 12]


@pytest.mark.parametrize(("asked", "place"), [(1, (0, 1)), (4, (0, 4)), (5, (1, 0)), (12, (2, 2))])
def test_an_interrupted_training_is_saved_and_says_how_to_resume(lab, session, asked, place):
    with pytest.raises(Interrupted, match="everything is saved") as caught:
        session(stop_after=asked)
    assert f"ilk train --resume {lab.folder}" in str(caught.value)
    assert caught.value.exit_code == 130
    [file] = (lab.folder / "checkpoints").glob("step-*")
    facts = checkpoint.load(file).facts
    assert (facts["epoch"], facts["step"]) == place


def test_an_interruption_on_a_full_disk_does_not_claim_to_have_saved(session, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "write_whole", no_room)
    with pytest.raises(Interrupted, match="could not be saved"):
        session(stop_after=3)
    assert "No space left on device" in caplog.text


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_training_on_a_full_disk_goes_on_to_its_end(lab, monkeypatch, caplog):
    unbroken = lab.training().fit()
    monkeypatch.setattr(checkpoint, "write_whole", no_room)
    monkeypatch.setattr("ilk.models.bundle.write_whole", no_room)
    monkeypatch.setattr("ilk.folder.write_whole", no_room)
    with Checkpoints(lab.folder / "checkpoints", minutes=0, every=1) as checkpoints:
        last = lab.training(checkpoints=checkpoints).fit()
    assert lab.differences(last, unbroken) == []
    assert {r.levelname for r in caplog.records if "written" in r.getMessage()} == {"WARNING"}
    assert not list((lab.folder / "checkpoints").iterdir())


def test_a_training_that_has_ended_has_nothing_left_to_do(lab):
    checkpoints = lab.every_step()
    unbroken = lab.training(checkpoints=checkpoints).fit()
    training = lab.training(checkpoints=checkpoints)
    training.state.restore(checkpoints.kept[-1])
    training.step = None
    assert lab.differences(training.fit(), unbroken) == []


def test_the_network_learns(lab):
    state = lab.training(epochs=10).fit()
    assert state.history[-1].loss < 0.8 * state.history[0].loss
    assert state.best.scores.accuracy > 0.6


def test_the_history_has_a_row_for_each_epoch(lab):
    training = lab.training(schedule="constant", augment="none", flip=0.0)
    state = training.fit()
    assert [row.epoch for row in state.history] == [1, 2, 3]
    assert [row.step for row in state.history] == [4, 8, 12]
    assert all(row.lr == 0.05 for row in state.history)
    assert all(0 <= row.accuracy <= 1 for row in state.history)
    assert all(one.seconds < other.seconds for one, other in pairwise(state.history))
    table = csv.DictReader((lab.folder / "history.csv").read_text().splitlines())
    assert [float(row["loss"]) for row in table] == [row.loss for row in state.history]


def test_the_training_loss_is_the_mean_over_the_pictures_of_the_epoch(lab):
    training = lab.training()
    seen = []
    inner = training.step

    class Watched:
        begin_epoch = inner.begin_epoch

        def __call__(self, *arguments):
            seen.append(inner(*arguments))
            return seen[-1]

    training.step = Watched()
    rows = training.fit().history
    for row, steps in zip(rows, [seen[:4], seen[4:8], seen[8:]], strict=True):
        assert row.loss == pytest.approx(np.mean([sums.mean_loss for sums in steps]))
        assert row.accuracy == pytest.approx(sum(sums.correct for sums in steps) / 16)


def test_the_best_epoch_is_scored_as_its_weights_are(lab):
    training = lab.training(**RICH)
    state = training.fit()
    examples = training.examples
    with torch.inference_mode():
        _, logits = build(state.bundle())(torch.from_numpy(examples.source.pixels[examples.val]))
    scores = scores_of(logits.numpy(), examples.targets[examples.val])
    assert scores == state.best.scores
    row = state.history[state.best.epoch - 1]
    assert (row.val_loss, row.val_accuracy, row.val_macro_f1) == (
        scores.loss, scores.accuracy, scores.macro_f1,
    )  # fmt: skip


LOSSES = (0.9, 0.5, 0.7, 0.4, 0.6)
ACCURACIES = (0.5, 0.6, 0.9, 0.6, 0.9)
F1S = (0.8, 0.1, 0.2, 0.3, 0.8)


@pytest.fixture
def judged(monkeypatch):
    """Let epoch after epoch score as listed above, or as given."""

    def judge(losses=LOSSES, accuracies=ACCURACIES, f1s=F1S):
        scores = iter([Scores(*each, n=6) for each in zip(losses, accuracies, f1s, strict=True)])
        monkeypatch.setattr(Trainer, "validate", lambda _: next(scores))

    return judge


@pytest.mark.parametrize(
    ("metric", "best"),
    [("accuracy", 5), ("macro_f1", 5), ("loss", 4), ("auto", 5)],
)
def test_the_best_epoch_is_chosen_by_the_metric_and_then_by_loss(lab, judged, metric, best):
    judged()
    checkpoints = lab.every_step()
    training = lab.training(checkpoints=checkpoints, epochs=5, metric=metric)
    state = training.fit()
    assert state.best.epoch == best
    assert state.best.scores.loss == LOSSES[best - 1]
    now = next(s for s in checkpoints.kept if s.facts["steps_done"] == 4 * best)
    assert torch.equal(state.best.weights["head.weight"], now.tensors["network.head.weight"])


def test_unequal_classes_are_judged_by_macro_f1(lab, judged):
    judged(f1s=(0.8, 0.1, 0.9, 0.3, 0.2))
    examples = lab.examples()
    examples.targets[:16] = [0] * 10 + [1] * 3 + [2] * 3
    assert lab.training(examples=examples, epochs=5).fit().best.epoch == 3


def test_the_best_model_is_written_when_there_is_a_better_one(lab, judged):
    judged()
    checkpoints = lab.every_step()
    checkpoints.best = []
    checkpoints.write_best = checkpoints.best.append
    state = lab.training(checkpoints=checkpoints, epochs=5, metric="loss").fit()
    assert len(checkpoints.best) == 3  # epochs 1, 2 and 4
    np.testing.assert_array_equal(
        checkpoints.best[-1].tensors["head.weight"], state.bundle().tensors["head.weight"]
    )


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 5), (None, 5)])
def test_patience_stops_a_training_that_gets_no_better(lab, judged, patience, epochs):
    judged()
    state = lab.training(epochs=5, metric="loss", patience=patience).fit()
    assert len(state.history) == epochs


def test_patience_is_remembered_over_a_pause(lab, judged):
    judged()
    checkpoints = lab.every_step()
    stopped = lab.training(checkpoints=checkpoints, epochs=5, metric="loss", patience=1).fit()
    again = lab.training(epochs=5, metric="loss", patience=1)
    again.state.restore(checkpoints.kept[-1])
    assert lab.differences(again.fit(), stopped) == []


def test_without_validation_pictures_patience_never_runs_out(lab):
    training = lab.training(patience=1)
    training.state.epoch = 2
    assert not training.out_of_patience()
    training.state.best = Best(1, Scores(0, 0, 0, 1), {})
    assert training.out_of_patience()


def test_without_pictures_to_choose_by_the_last_epoch_is_kept(lab):
    state = lab.training(examples=lab.examples(val=0)).fit()
    assert state.best is None
    assert [row.val_loss for row in state.history] == [None] * 3
    np.testing.assert_array_equal(
        state.bundle().tensors["head.weight"], state.network.head.weight.detach().numpy()
    )


class StreamedPixels(CachedPixels):
    """Only finds that a picture is broken when it is read."""

    def __init__(self, pixels, broken):
        super().__init__(pixels, dict.fromkeys(broken, "is broken"))
        self._broken, self.errors = self.errors, {}

    def batches(self, batches):
        for indices, batch in zip(batches, super().batches(batches), strict=True):
            self.errors |= {i: self._broken[i] for i in indices.tolist() if i in self._broken}
            yield batch


def test_too_many_broken_pictures_stop_the_training_after_its_first_epoch(lab):
    examples = lab.examples()  # of 22 pictures, a broken one each to learn from and to choose by
    streamed = dataclasses.replace(examples, source=StreamedPixels(examples.source.pixels, [2, 17]))
    training = lab.training(examples=streamed, max_unreadable=0.08)
    with pytest.raises(DataError, match=r"2 of 22 files .* more than --max-unreadable 0\.08"):
        training.fit()
    assert (training.state.epoch, training.state.step) == (0, 4)
    assert len(lab.training(examples=streamed, max_unreadable=0.1).fit().history) == 3


def blow_up(training, after):
    """Make the weights infinite after so many steps, so that the next loss is not finite."""
    inner = training.monitor.step
    steps = []

    def explode(state, *arguments):
        inner(state, *arguments)
        steps.append(1)
        if len(steps) == after:
            with torch.no_grad():
                state.network.head.weight.fill_(float("inf"))

    training.monitor.step = explode


def test_a_loss_that_is_not_finite_stops_with_the_best_epoch(lab, caplog):
    unbroken = lab.training().fit()
    training = lab.training()
    blow_up(training, after=10)
    state = training.fit()
    assert state.diverged_at == "epoch 3, step 3"
    assert [lab.timeless(row) for row in state.history] == [
        lab.timeless(row) for row in unbroken.history[:2]
    ]
    assert state.best.epoch <= 2
    assert all(np.isfinite(value).all() for value in state.bundle().tensors.values())
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert record.getMessage() == (
        "The training diverged: the loss became NaN or infinite in epoch 3, step 3. Stopped; the "
        f"best epoch, {state.best.epoch}, is kept."
    )


@pytest.mark.parametrize("val", [0, 6])
def test_a_loss_that_is_not_finite_is_an_error_where_there_is_no_good_epoch(lab, val):
    training = lab.training(examples=lab.examples(val=val))
    blow_up(training, after=2)
    with pytest.raises(
        TrainingError, match=r"epoch 1, step 3, at a learning rate of 0\.0"
    ) as error:
        training.fit()
    for flag in ("--lr ", "--lr-find", "--warmup", "--clip 1"):
        assert flag in str(error.value)


@pytest.mark.parametrize("val", [0, 6])
def test_weights_that_diverged_in_the_last_step_of_an_epoch_are_not_its_model(lab, val):
    """No loss shows it before the epoch is scored, or the training has ended."""
    training = lab.training(examples=lab.examples(val=val), epochs=1)
    blow_up(training, after=4)
    with pytest.raises(TrainingError, match="diverged"):
        training.fit()


def test_weights_that_diverged_in_the_last_step_leave_the_best_epoch_before(lab):
    training = lab.training()
    blow_up(training, after=12)
    state = training.fit()
    assert state.best.epoch <= 2
    assert math.isfinite(state.best.scores.loss)
    assert all(np.isfinite(value).all() for value in state.bundle().tensors.values())
    assert state.diverged_at.startswith("epoch 3")


def test_an_average_that_diverged_is_no_better_than_the_network(lab):
    training = lab.training(examples=lab.examples(val=0), epochs=1, ema=0.9)
    blow_up(training, after=3)
    with pytest.raises(TrainingError):
        training.fit()


def test_a_diverged_state_is_not_resumed_from(lab):
    with Checkpoints(lab.folder / "checkpoints", minutes=0) as checkpoints:
        training = lab.training(checkpoints=checkpoints)
        blow_up(training, after=10)
        training.fit()
    found = Checkpoints(lab.folder / "checkpoints").newest()
    assert 0 < found.facts["steps_done"] < 10
    assert all(t.isfinite().all() for t in found.tensors.values())


@pytest.mark.parametrize("total", [1, 6])
def test_a_budget_may_cut_the_last_epoch_short(lab, total):
    checkpoints = lab.every_step()

    def cut():
        training = lab.training(checkpoints=checkpoints, budget="1m", epochs=None)
        training.state.total_steps = total
        return training

    state = cut().fit()
    assert [row.step for row in state.history] == [*range(4, total, 4), total]
    assert state.lr < 0.05 / total + 0.03  # the schedule ends where the training does
    for snapshot in checkpoints.kept[:]:
        training = cut()
        training.state.total_steps = 12  # the checkpoint knows better
        training.state.restore(snapshot)
        assert lab.differences(training.fit(), state) == []


def batches_of(lab, epoch, step=0, **fields):
    training = lab.training(**fields)
    training.state.epoch, training.state.step = epoch, step
    return [indices.tolist() for indices in training.remaining_batches()]


def test_batches_differ_by_epoch_and_depend_on_nothing_but_seed_and_epoch(lab):
    expected = [batches_of(lab, epoch) for epoch in range(3)]
    assert all(one != other for one, other in combinations(expected, 2))
    torch.manual_seed(9)
    assert expected == [
        batches_of(lab, epoch, optimizer="adamw", augment="none") for epoch in range(3)
    ]
    assert batches_of(lab, 0, seed=1) != expected[0]


def test_the_remaining_batches_are_those_not_yet_used(lab):
    whole = batches_of(lab, 1)
    assert [batches_of(lab, 1, step) for step in range(5)] == [whole[step:] for step in range(5)]


def test_a_step_has_as_many_pictures_as_its_batches_together(lab):
    assert [len(batch) for batch in batches_of(lab, 0, batch=3, accumulate=2)] == [6, 5, 5]


class Apart(World):
    """One of several processes that exchanges nothing with the others."""

    def all_reduce(self, *numbers):
        return list(numbers)

    def all_gather(self, entries):
        return entries


@pytest.mark.parametrize("batch", [4, 5])
def test_processes_share_each_batch(lab, batch):
    def taken(rank):
        training = lab.training(examples=lab.examples(val=0), epochs=1, batch=batch)
        inner, taken = training.step, []

        class Watched:
            begin_epoch = inner.begin_epoch

            def __call__(self, state, batch, *others):
                taken.append(batch.indices.tolist())
                return inner(state, batch, *others)

        training.step = Watched()
        training.fit(world=Apart(rank, 2))
        return taken

    for indices, *parts in zip(batches_of(lab, 0, batch=batch), taken(0), taken(1), strict=True):
        assert sorted(chain(*parts)) == sorted(indices)
        assert len(parts[0]) - len(parts[1]) in (0, 1)


def test_a_checkpoint_of_an_early_version_is_resumed(lab):
    """Its history called the learning rate ``rate``."""
    checkpoints = lab.every_step()
    unbroken = lab.training(checkpoints=checkpoints, **RICH).fit()
    snapshot = checkpoints.kept[6]
    old = {"epoch": 1, "step": 4, "seconds": 1.5, "rate": 0.02, "loss": 1.0, "accuracy": 0.5,
           "val_loss": 1.0, "val_accuracy": 0.5, "val_macro_f1": 0.4,
           "pictures_per_second": 10.0}  # fmt: skip
    snapshot.facts["history"] = [old]
    (lab.folder / "history.csv").write_text("epoch,step,seconds,rate,loss\n1,4,1.5,0.02,1.0\n")
    state = resumed(lab, snapshot, **RICH)
    assert state.history[0] == Row(
        epoch=1, step=4, seconds=1.5, lr=0.02, loss=1.0, accuracy=0.5, val_loss=1.0,
        val_accuracy=0.5, val_macro_f1=0.4, pictures_per_second=10.0,
    )  # fmt: skip
    assert set(lab.differences(state, unbroken)) == {"history"}
    table = list(csv.DictReader((lab.folder / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert float(table[0]["lr"]) == 0.02


def test_checkpoints_are_kept_permanently_every_few_epochs(lab):
    with Checkpoints(lab.folder / "checkpoints", every=2) as checkpoints:
        lab.training(checkpoints=checkpoints, epochs=5).fit()
    names = sorted(path.name for path in (lab.folder / "checkpoints").iterdir())
    assert [re.sub(r"\.safetensors$", "", name) for name in names] == [
        "best", "epoch-0002", "epoch-0004", "step-00000020",
    ]  # fmt: skip
