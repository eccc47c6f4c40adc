from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve

from ilk.checking import out_of_fold as module
from ilk.checking.out_of_fold import FOLDS, assign_folds, out_of_fold
from ilk.inference.hellinger import hellinger


def blobs(n=300, classes=3, width=8, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, width)) * 2
    targets = np.arange(n) % classes
    features = centres[targets] + rng.normal(size=(n, width)) * noise
    return features.astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_probabilities_tell_the_classes(classes):
    features, targets = blobs(classes=classes, noise=0.5)
    found = out_of_fold(features, targets, classes)
    assert found.shape == (300, classes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == targets).mean() > 0.9


def test_a_wrong_label_is_not_believed():
    features, targets = blobs(noise=0.5)
    given = targets.copy()
    given[:15] = (given[:15] + 1) % 3
    found = out_of_fold(features, given, 3)
    assert (found[:15].argmax(axis=1) == targets[:15]).mean() > 0.8


def test_nothing_is_told_of_labels_that_have_nothing_to_do_with_the_features():
    features, _ = blobs(width=300)
    found = out_of_fold(features, np.random.default_rng(2).integers(0, 2, 300), 2)
    assert np.abs(found - 0.5).mean() < 0.2  # though 300 features could tell 300 pictures apart


def test_it_is_as_if_each_fold_had_been_left_out(monkeypatch):
    monkeypatch.setattr(module, "STRENGTHS", (0.3,))
    features, targets = blobs(n=40)
    found = out_of_fold(features, targets, 3)
    fold = assign_folds(targets, np.arange(40), 0)
    inputs = np.hstack([hellinger(features), np.ones((40, 1))])
    inputs[:, :-1] -= inputs[:, :-1].mean(axis=0)
    indicators = np.eye(3)[targets] - 1 / 3
    scores = np.empty((40, 3))
    for number in range(FOLDS):
        train, held_out = inputs[fold != number], inputs[fold == number]
        gram = train.T @ train
        gram += 0.3 * np.trace(gram) / len(gram) * np.eye(len(gram))
        scores[fold == number] = held_out @ solve(gram, train.T @ indicators[fold != number])
    expected = np.maximum(scores + 1 / 3, module.FLOOR / 3)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_copies_in_one_group_do_not_know_each_other():
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(30, 200)).astype(np.float32)
    targets = np.repeat(rng.integers(0, 2, 30), 4)
    features = np.repeat(originals, 4, axis=0)
    groups = [str(i) for i in np.repeat(np.arange(30), 4)]
    known = out_of_fold(features, targets, 2)
    unknown = out_of_fold(features, targets, 2, groups=groups)
    assert (known.argmax(axis=1) == targets).mean() > 0.95
    assert (unknown.argmax(axis=1) == targets).mean() < 0.8


def test_pictures_without_a_label_take_no_part():
    features, targets = blobs()
    given = np.where(np.arange(300) < 50, -1, targets)
    found = out_of_fold(features, given, 3)
    assert np.isnan(found[:50]).all()
    assert (found[50:].argmax(axis=1) == targets[50:]).mean() > 0.9


def test_a_class_with_one_picture_is_unknown_to_the_others():
    features, targets = blobs()
    given = targets.copy()
    given[0] = 3
    found = out_of_fold(features, given, 4)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()
    given[[3, 6]] = 3  # copies of it, which fall into its fold, change nothing
    groups = np.arange(300).astype(str)
    groups[[3, 6]] = groups[0]
    assert np.isnan(out_of_fold(features, given, 4, groups=list(groups))[[0, 3, 6]]).all()


def test_fewer_than_two_classes_cannot_be_told_apart():
    features, targets = blobs(n=6)
    assert out_of_fold(features, np.zeros(6, np.int64), 1) is None
    assert out_of_fold(features, np.arange(6), 6) is None
    assert out_of_fold(features, np.full(6, -1), 3) is None
    assert out_of_fold(features[:0], targets[:0], 0) is None


def test_two_pictures_a_class_are_enough():
    found = out_of_fold(*blobs(n=4, classes=2, noise=0.1), 2)
    assert np.isfinite(found).all()


def test_features_that_never_change_give_no_trouble():
    found = out_of_fold(np.ones((40, 3), np.float32), np.array([0, 0, 0, 1] * 10), 2)
    assert (found.argmax(axis=1) == 0).all()


def test_each_class_is_spread_evenly_over_the_folds():
    targets = np.array([0] * 50 + [1] * 12 + [2] * 5)
    fold = assign_folds(targets, np.arange(67), 0)
    for target, least, most in ((0, 10, 10), (1, 2, 3), (2, 1, 1)):
        counts = np.bincount(fold[targets == target], minlength=FOLDS)
        assert (counts.min(), counts.max()) == (least, most)
    assert np.ptp(np.bincount(fold)) <= 1


def test_the_same_seed_gives_the_same_answer_and_changes_no_features():
    features, targets = blobs()
    before = features.copy()
    first, second = out_of_fold(features, targets, 3), out_of_fold(features, targets, 3)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(features, before)
