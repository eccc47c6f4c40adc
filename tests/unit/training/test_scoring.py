from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from ilk.training.distributed import World
from ilk.training.pixels import Kept, PixelSource
from ilk.training.scoring import Scores, chosen_metric, outputs_of, scores_of


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 80)
    logits = rng.normal(size=(80, 4)).astype(np.float32)
    logits[np.arange(80), targets] += 1
    return logits, targets


def test_scores_are_those_of_scikit_learn(scored):
    logits, targets = scored
    scores = scores_of(logits, targets)
    predicted = logits.argmax(axis=1)
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    assert scores.n == 80
    assert scores.accuracy == accuracy_score(targets, predicted)
    assert scores.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert scores.loss == pytest.approx(log_loss(targets, probabilities), rel=1e-5)


def test_scores_do_not_overflow(scored):
    logits, targets = scored
    scores = scores_of(1e6 * logits, targets)
    assert math.isfinite(scores.loss)
    assert scores.accuracy == scores_of(logits, targets).accuracy


def test_a_class_that_is_never_named_or_never_there_scores_nothing_and_says_nothing():
    logits = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    assert scores_of(logits, np.array([0, 0, 2])).macro_f1 == pytest.approx(1 / 2)


GOOD = Scores(loss=0.5, accuracy=0.8, macro_f1=0.7, n=10)


@pytest.mark.parametrize(
    ("metric", "changes", "better"),
    [
        ("accuracy", {"accuracy": 0.9, "loss": 9, "macro_f1": 0}, True),
        ("accuracy", {"accuracy": 0.7, "loss": 0, "macro_f1": 1}, False),
        ("accuracy", {"loss": 0.4}, True),
        ("accuracy", {"loss": 0.6}, False),
        ("accuracy", {}, False),
        ("macro_f1", {"macro_f1": 0.8, "loss": 9, "accuracy": 0}, True),
        ("macro_f1", {"macro_f1": 0.6, "loss": 0, "accuracy": 1}, False),
        ("loss", {"loss": 0.4, "accuracy": 0, "macro_f1": 0}, True),
        ("loss", {"loss": 0.6, "accuracy": 1, "macro_f1": 1}, False),
    ],
)
def test_scores_are_compared_by_the_metric_and_then_by_loss(metric, changes, better):
    assert replace(GOOD, **changes).better_than(GOOD, metric) == better


@pytest.mark.parametrize(
    ("counts", "metric"),
    [
        ((10, 10), "accuracy"),
        ((15, 10), "accuracy"),
        ((16, 10), "macro_f1"),
        ((1, 0, 1), "accuracy"),
    ],
)
def test_unequal_classes_are_judged_by_macro_f1(counts, metric):
    targets = np.repeat(np.arange(len(counts)), counts)
    assert chosen_metric("auto", targets) == metric


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_a_metric_that_is_named_is_taken(metric):
    assert chosen_metric(metric, np.array([0] * 90 + [1])) == metric


class Partly(PixelSource):
    """Pixels of which some cannot be read, as of files decoded anew each time."""

    def __init__(self, pixels, unreadable):
        super().__init__(dict.fromkeys(unreadable, "is broken"))
        self.pixels = pixels

    def batches(self, lots):
        for rows in lots:
            good = np.array([row for row in rows if row not in self.errors], np.int64)
            yield self.pixels[good], good


def run(lab, rows, source=None, world=None, batch=4, precision=None):
    options = {"world": world} if world else {}
    return outputs_of(
        lab.network(),
        source or Kept(lab.pixels(30)[0], {}),
        rows,
        precision=precision or lab.precision,
        batch=batch,
        **options,
    )


def test_logits_are_in_the_order_of_the_rows(lab):
    rows = np.array([7, 29, 0, 12, 3])
    features, logits, good = run(lab, rows)
    network, pixels = lab.network(), torch.from_numpy(lab.pixels(30)[0])
    with torch.inference_mode():
        known, expected = network(pixels[rows])
    assert logits.dtype == features.dtype == np.float32
    np.testing.assert_allclose(features, known.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert good.dtype == bool
    assert good.all()


def test_the_batch_does_not_matter(lab):
    rows = np.arange(11)
    _, one, _ = run(lab, rows, batch=1)
    for batch in (3, 11, 50):
        np.testing.assert_allclose(run(lab, rows, batch=batch)[1], one, rtol=1e-5, atol=1e-6)


def test_the_network_is_scored_as_it_would_be_used(lab):
    """No dropout, and norms that neither look at the batch nor learn from it."""
    network = lab.network()
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, logits, _ = outputs_of(
        network,
        Kept(lab.pixels(30)[0], {}),
        np.arange(9),
        precision=lab.precision,
        batch=3,
    )
    np.testing.assert_array_equal(logits, run(lab, np.arange(9), batch=3)[1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("unreadable", [{3}, {0, 1, 2}, {8}, {3, 4, 5, 8}])
def test_pictures_that_cannot_be_read_are_told_apart(lab, unreadable):
    """Also where all of a batch cannot be read, or the one picture of the last batch."""
    source = Partly(lab.pixels(30)[0], unreadable)
    _, logits, good = run(lab, np.arange(9), source, batch=4 if unreadable == {8} else 3)
    assert set(np.flatnonzero(~good).tolist()) == unreadable
    _, whole, _ = run(lab, np.arange(9))
    np.testing.assert_allclose(logits[good], whole[good], rtol=1e-5, atol=1e-6)
    assert not logits[~good].any()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [1, 2, 9, 10])
def test_processes_share_pictures_out_so_that_each_comes_once(lab, size, number):
    rows = np.random.default_rng(0).permutation(30)[:number]
    parts = [World(rank, size).part(rows) for rank in range(size)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


class Waiting(World):
    """One of several processes, which keeps what it would sum up with the others."""

    def align_buffers(self, network):
        pass

    def summed(self, tensor):
        sums.append(tensor.clone())
        return tensor


sums: list[torch.Tensor] = []


@pytest.mark.parametrize("size", [2, 3])
def test_the_sum_over_processes_is_what_one_alone_finds(lab, size):
    source = Partly(lab.pixels(30)[0], {4, 17})
    rows = np.random.default_rng(1).permutation(30)[:20]
    features, alone, good = run(lab, rows, source)
    sums.clear()
    for rank in range(size):
        run(lab, rows, source, Waiting(rank, size))
    seen, logits, votes = (sum(sums[i::3]) for i in (0, 1, 2))
    np.testing.assert_allclose(seen.numpy(), features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.numpy(), alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(votes.numpy(), good)  # one vote each: nobody counted twice


def test_scoring_the_same_again_gives_the_same_bits(lab):
    found = [run(lab, np.arange(20))[0] for _ in range(3)]
    for one, other in pairwise(found):
        np.testing.assert_array_equal(one, other)
