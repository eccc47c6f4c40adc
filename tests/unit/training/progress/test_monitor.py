from __future__ import annotations

import csv
import dataclasses
import errno
import logging
import os
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from ilk.errors import UsageError
from ilk.training.history import Row
from ilk.training.progress import monitor as module
from ilk.training.progress.monitor import GRADIENT_STEPS, Monitor
from ilk.training.scoring import Scores
from ilk.training.state import Best, EpochSums
from ilk.training.step import StepSums


class Live:
    """A Progress that remembers its lines, and the ticks of each."""

    def __init__(self):
        self.lines = []

    @contextmanager
    def __call__(self, what, total):
        line = {"what": what, "total": total, "ticks": [], "remarks": [], "open": True}

        def tick(number, remark=""):
            line["ticks"].append(number)
            line["remarks"].append(remark)

        self.lines.append(line)
        yield tick
        line["open"] = False


class Board:
    """Stands in for TensorBoard; remembers what it was shown."""

    def __init__(self):
        self.shown = []

    def __getattr__(self, name):
        return lambda *given: self.shown.append((name, *given))

    def names(self):
        return [name for name, *_ in self.shown]


@pytest.fixture
def clock(monkeypatch):
    """Let time stand still but where a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def logged(caplog):
    """Return ``logged(level)``: the messages so far."""
    caplog.set_level(logging.INFO, "ilk")
    return lambda level: [r.getMessage() for r in caplog.records if r.levelname == level]


@pytest.fixture
def state(lab):
    return lab.training().state


@pytest.fixture
def board(monkeypatch):
    made = Board()
    monkeypatch.setattr(module, "_open_board", lambda *_: made)
    return made


def row(epoch=1, loss=0.5, **fields):
    usual = {"step": 4 * epoch, "seconds": 1.0, "lr": 0.05, "accuracy": 0.7, "val_loss": 0.6,
             "val_accuracy": 0.8, "val_macro_f1": 0.7, "pictures_per_second": 100.0}  # fmt: skip
    return Row(epoch=epoch, loss=loss, **{**usual, **fields})


def test_each_epoch_has_a_live_line_that_counts_its_pictures(lab, state, clock):
    live = Live()
    with Monitor(lab.folder, lab.examples(), lab.recipe(), live) as monitor:
        monitor.begin_epoch(state, 16)
        for step in range(4):
            clock[0] += 0.3
            state.sums.add(2.0, 3, 4)
            state.step = step + 1
            monitor.step(state, StepSums(2.0, 3, 4))
        state.history.append(row())
        monitor.end_epoch(state)
        [line] = live.lines
        assert not line["open"]
        assert line["what"] == "epoch 1/3"
        assert line["total"] == sum(line["ticks"]) == 16
        assert line["remarks"][-1].startswith("loss 0.500, acc 75.0 %, ")
        assert line["remarks"][-1].endswith(" left")


def test_the_live_line_changes_a_few_times_a_second_and_forgets_no_picture(lab, state, clock):
    live = Live()
    with Monitor(lab.folder, lab.examples(), lab.recipe(), live) as monitor:
        monitor.begin_epoch(state, 400)
        for _ in range(100):
            clock[0] += 0.05
            state.sums.add(2.0, 3, 4)
            monitor.step(state, StepSums(2.0, 3, 4))
    [line] = live.lines
    assert 10 <= len(line["ticks"]) <= 20
    assert sum(line["ticks"]) + 4 * 5 > 400


def test_the_line_of_an_epoch_that_was_begun_before_counts_what_was_had(lab, state, clock):
    live = Live()
    state.sums = EpochSums(loss=4.0, correct=6, pictures=8)
    state.step = 2
    with Monitor(lab.folder, lab.examples(), lab.recipe(), live) as monitor:
        monitor.begin_epoch(state, 8)
        for _ in range(2):
            clock[0] += 1
            state.sums.add(2.0, 3, 4)
            monitor.step(state, StepSums(2.0, 3, 4))
    [line] = live.lines
    assert line["total"] == sum(line["ticks"]) == 16


def test_a_line_is_closed_when_a_training_breaks_off(lab, state):
    live = Live()
    with (
        pytest.raises(KeyboardInterrupt),
        Monitor(lab.folder, lab.examples(), lab.recipe(), live) as monitor,
    ):
        monitor.begin_epoch(state, 16)
        raise KeyboardInterrupt
    assert not live.lines[0]["open"]


def test_the_end_of_an_epoch_is_a_line_and_a_row(lab, state, logged):
    monitor = Monitor(lab.folder, lab.examples(), lab.recipe())
    for epoch in (1, 2):
        state.history.append(row(epoch))
        monitor.end_epoch(state)
    assert [line[:9] for line in logged("INFO")] == ["epoch 1/3", "epoch 2/3"]
    assert "val accuracy  80.0 %" in logged("INFO")[0]
    table = list(csv.DictReader((lab.folder / "history.csv").read_text().splitlines()))
    assert [line["epoch"] for line in table] == ["1", "2"]
    assert not logged("WARNING")


def test_a_problem_is_reported_once(lab, state, logged):
    monitor = Monitor(lab.folder, lab.examples(), lab.recipe())
    for epoch in range(1, 8):
        state.history.append(row(epoch, loss=1.0 + epoch / 10, val_loss=None, val_accuracy=None))
        monitor.end_epoch(state)
    [remark] = logged("WARNING")
    assert "training loss has not fallen in the first 5 epochs" in remark


@pytest.mark.parametrize(
    ("targets", "said"),
    [([0, 1] * 8, "worse than tossing a coin"), ([0] * 12 + [1] * 4, "no better than the 75.0 %")],
)
def test_guessing_is_judged_by_the_classes_as_they_are_in_train(lab, state, logged, targets, said):
    examples = lab.examples(val=30)
    examples.targets[:16] = targets
    examples = dataclasses.replace(examples, classes=("a", "b"))
    monitor = Monitor(lab.folder, examples, lab.recipe())
    for epoch in (1, 2, 3):
        state.history.append(row(epoch, loss=1 / epoch, val_accuracy=0.49, val_loss=1 / epoch))
        monitor.end_epoch(state)
    [remark] = logged("WARNING")
    assert said in remark


def test_a_full_disk_costs_the_table_but_not_the_training(lab, state, logged, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "write_history", no_room)
    monitor = Monitor(lab.folder, lab.examples(), lab.recipe())
    state.history.append(row())
    monitor.end_epoch(state)
    [warning] = logged("WARNING")
    assert "history.csv could not be written (No space left on device)" in warning


def test_the_curves_are_drawn_with_the_best_epoch(lab, state, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "plot_curves", lambda *given: drawn.append(given))
    monitor = Monitor(lab.folder, lab.examples(), lab.recipe())
    state.history.append(row())
    monitor.end(state)
    state.best = Best(1, Scores(0.5, 0.5, 0.5, 6), {})
    monitor.end(state)
    path = lab.folder / "plots" / "curves.png"
    assert drawn == [(state.history, path, None), (state.history, path, 1)]


def test_a_training_without_an_epoch_has_no_curves(lab, state):
    Monitor(lab.folder, lab.examples(), lab.recipe()).end(state)
    assert list(lab.folder.iterdir()) == []


def test_only_the_main_process_prints_and_writes(lab, state, logged, board, clock):
    live = Live()
    recipe = lab.recipe(tensorboard=True)
    with Monitor(lab.folder, lab.examples(), recipe, live, enabled=False) as monitor:
        monitor.begin_epoch(state, 16)
        clock[0] += 1
        state.sums.add(2.0, 3, 4)
        monitor.step(state, StepSums(2.0, 3, 4))
        state.history.append(row())
        monitor.end_epoch(state)
        monitor.end(state)
    assert live.lines == []
    assert logged("INFO") == logged("WARNING") == []
    assert list(lab.folder.iterdir()) == []
    assert board.shown == []


def test_without_tensorboard_nothing_of_it_is_written(lab, state):
    with Monitor(lab.folder, lab.examples(), lab.recipe()) as monitor:
        monitor.gradients(state, None, None)
        monitor.validated(state, lab.examples().val, np.zeros(6, int))
    assert list(lab.folder.iterdir()) == []


def test_tensorboard_is_shown_gradients_now_and_then_and_pictures_once_an_epoch(lab, state, board):
    state.steps_per_epoch = 30
    pixels, soft = torch.zeros(4, 8, 8, 3), torch.zeros(4, 3)
    with Monitor(lab.folder, lab.examples(), lab.recipe(tensorboard=True)) as monitor:
        for epoch in range(2):
            for step in range(30):
                state.epoch, state.step = epoch, step
                monitor.gradients(state, pixels, soft)
    norms = [given[0] for name, *given in board.shown if name == "gradient_norms"]
    assert norms == list(range(0, 60, GRADIENT_STEPS))
    assert board.names().count("histograms") == board.names().count("pictures") == 2
    assert board.names()[-1] == "close"


def test_tensorboard_is_shown_the_row_of_each_epoch(lab, state, board):
    monitor = Monitor(lab.folder, lab.examples(), lab.recipe(tensorboard=True))
    state.history.append(row())
    monitor.end_epoch(state)
    assert ("scalars", row()) in board.shown


def test_tensorboard_is_shown_some_pictures_that_were_named_wrongly(lab, state, board):
    examples = lab.examples(val=60)
    indices = examples.val[5:]
    predicted = examples.targets[indices].copy()
    predicted[::2] = (predicted[::2] + 1) % 3
    monitor = Monitor(lab.folder, examples, lab.recipe(tensorboard=True))
    monitor.validated(state, indices, predicted)
    [(name, step, pixels, targets, named, classes)] = board.shown
    wrong = indices[::2][:16]
    assert (name, step, classes) == ("wrong", 0, lab.classes)
    np.testing.assert_array_equal(pixels.numpy(), examples.source.pixels[wrong])
    np.testing.assert_array_equal(targets.numpy(), examples.targets[wrong])
    np.testing.assert_array_equal(named.numpy(), (examples.targets[wrong] + 1) % 3)


def test_where_all_are_right_no_picture_is_shown(lab, state, board):
    examples = lab.examples()
    monitor = Monitor(lab.folder, examples, lab.recipe(tensorboard=True))
    monitor.validated(state, examples.val, examples.targets[examples.val])
    assert board.shown == []


def test_tensorboard_that_is_not_installed_is_refused_before_the_training(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'ilk\[tensorboard\]'"):
        Monitor(lab.folder, lab.examples(), lab.recipe(tensorboard=True))
