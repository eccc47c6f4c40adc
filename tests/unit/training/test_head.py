from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from ilk.training import head
from ilk.training.head import DEFAULT_STRENGTH, STRENGTHS, solve


def blobs(n=300, classes=3, width=8, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, width)) * 2
    targets = np.arange(n) % classes
    features = centres[targets] + rng.normal(size=(n, width)) * noise
    return features.astype(np.float32), targets


def logits(found, features):
    return features @ found.weight.T + found.bias


def loss(found, features, targets):
    return -log_softmax(logits(found, features), axis=1)[np.arange(len(targets)), targets].mean()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_the_head_does_as_well_as_plain_logistic_regression(classes, noise):
    train, test = blobs(classes=classes, noise=noise), blobs(classes=classes, noise=noise, seed=5)
    found = solve(*train)
    plain = LogisticRegression(max_iter=1000).fit(*train)
    own = (logits(found, test[0]).argmax(axis=1) == test[1]).mean()
    assert own >= plain.score(*test) - 0.03
    assert found.weight.shape == (classes, 8)
    assert found.bias.shape == (classes,)
    assert found.weight.dtype == found.bias.dtype == np.float32


def test_the_folded_layer_gives_the_logits_of_the_fit_on_scaled_features():
    features, targets = blobs()
    found = solve(features, targets, strength=10.0)
    scale = head._scale(features)
    scaled = (features - features.mean(axis=0)) / scale
    plain = LogisticRegression(C=0.1, max_iter=500, tol=head.TOLERANCE).fit(scaled, targets)
    expected = scaled @ plain.coef_.T + plain.intercept_
    np.testing.assert_allclose(logits(found, features), expected, atol=0.02)


def test_two_classes_get_two_rows_with_the_same_probabilities():
    features, targets = blobs(classes=2)
    found = solve(features, targets, strength=10.0)
    scaled = (features - features.mean(axis=0)) / head._scale(features)
    plain = LogisticRegression(C=0.1, max_iter=500, tol=head.TOLERANCE).fit(scaled, targets)
    own = np.exp(log_softmax(logits(found, features), axis=1))
    np.testing.assert_allclose(own, plain.predict_proba(scaled), atol=1e-3)


def test_the_strength_is_the_best_out_of_fold():
    found = solve(*blobs(noise=3.0))
    assert list(found.scores) == list(STRENGTHS)
    assert found.strength == min(found.scores, key=found.scores.__getitem__)
    noisy = solve(*blobs(n=60, noise=6.0, width=40))
    assert noisy.strength > found.strength


def test_a_given_strength_is_taken_and_not_searched():
    found = solve(*blobs(), strength=42.0)
    assert (found.strength, set(found.scores)) == (42.0, {42.0})


def test_features_that_never_change_change_nothing():
    features, targets = blobs()
    features *= 0.01
    constant = np.full((len(features), 200), 7, np.float32)
    alone = solve(features, targets, strength=10.0)
    with_constants = np.hstack([features, constant])
    beside = solve(with_constants, targets, strength=10.0)
    assert np.isfinite(beside.weight).all()
    np.testing.assert_allclose(
        logits(beside, with_constants), logits(alone, features), rtol=1e-2, atol=1e-2
    )


def test_features_that_are_all_constant_give_the_class_shares():
    targets = np.array([0, 0, 0, 1] * 10)
    found = solve(np.ones((40, 3), np.float32), targets)
    probabilities = np.exp(log_softmax(logits(found, np.ones((1, 3), np.float32)), axis=1))
    np.testing.assert_allclose(probabilities, [[0.75, 0.25]], atol=0.01)


def test_balanced_weights_find_more_of_a_rare_class():
    rng = np.random.default_rng(0)
    targets = np.array([0] * 570 + [1] * 30)
    features = (targets[:, None] * 1.0 + rng.normal(size=(600, 2))).astype(np.float32)
    recall = {}
    for balanced in (False, True):
        found = solve(features, targets, balanced=balanced)
        recall[balanced] = (logits(found, features[570:]).argmax(axis=1) == 1).mean()
    assert recall[True] > recall[False] + 0.3


def test_a_class_with_one_picture_is_fitted_without_cross_validation():
    features, targets = blobs(n=31, classes=2, noise=0.3)
    targets = targets.copy()
    targets[0] = 2
    features[0] = 20
    found = solve(features, targets)
    assert (found.strength, found.scores) == (DEFAULT_STRENGTH, {})
    assert (logits(found, features).argmax(axis=1) == targets).mean() > 0.9


def test_two_pictures_a_class_are_enough_to_cross_validate():
    features, targets = blobs(n=4, classes=2, noise=0.1)
    assert set(solve(features, targets).scores) == set(STRENGTHS)


def test_many_rows_are_sampled_for_cross_validation(monkeypatch):
    seen = []
    sample = head._enough
    monkeypatch.setattr(head, "_enough", lambda t, r, s: seen.append(sample(t, r, s)) or seen[-1])
    features, targets = blobs(n=12_000, width=4)
    targets = targets.copy()
    targets[:8] = 3  # a rare class keeps enough rows to be in every fold
    found = solve(features, targets)
    kept = seen[0]
    assert len(set(kept)) == len(kept)
    assert abs(len(kept) - head.ENOUGH) < 10
    counts = np.bincount(targets[kept])
    assert counts[3] >= head.FOLDS
    assert counts[:3].max() - counts[:3].min() < 10
    assert len(found.scores) == len(STRENGTHS)
    assert np.array_equal(found.indices, kept)
    assert found.logits.shape == (len(kept), 4)


@pytest.mark.parametrize("classes", [2, 3])
def test_held_out_logits_are_those_of_models_that_did_not_learn_from_the_picture(classes):
    """Labels at random: who has not learned them by heart guesses."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 200)).astype(np.float32)
    targets = np.arange(120) % classes
    found = solve(features, targets, strength=1e-3)
    assert np.array_equal(np.sort(found.indices), np.arange(120))
    learned = (logits(found, features).argmax(axis=1) == targets).mean()
    held_out = (found.logits.argmax(axis=1) == targets[found.indices]).mean()
    assert learned > 0.95
    assert held_out < 1 / classes + 0.2


def test_copies_take_no_part_in_the_cross_validation():
    features, targets = blobs(n=60)
    twice, labels = np.tile(features, (2, 1)), np.tile(targets, 2)
    found = solve(twice, labels, copies=[str(i % 60) for i in range(120)])
    assert found.indices.max() < 60
    assert found.logits.shape == (60, 3)


def test_copies_teach_no_model_about_pictures_that_are_held_out():
    """Also where they are so many that the held-out pictures are asked of a model of all others."""
    rng = np.random.default_rng(0)
    features = np.tile(rng.normal(size=(150, 300)).astype(np.float32), (3, 1))
    targets = np.tile(rng.integers(0, 3, 150), 3)
    found = solve(features, targets, strength=1e-3, copies=[str(i % 150) for i in range(450)])
    assert (found.logits.argmax(axis=1) == targets[found.indices]).mean() < 0.5


@pytest.mark.parametrize("label", [0, 3])
def test_a_class_of_copies_of_another_class_is_solved_too(label):
    features, targets = blobs(n=90)
    features = np.concatenate([features, features[:5]])
    targets = np.concatenate([targets + (label == 0), np.full(5, label)])
    found = solve(features, targets, copies=[*map(str, range(90)), *map(str, range(5))])
    assert found.weight.shape == (4, 8)
    assert found.logits.shape[1] == 4
    assert len(found.indices) == 95


def test_where_a_class_has_one_picture_nothing_is_held_out():
    features, targets = blobs(n=40)
    targets = targets.copy()
    targets[0] = 3
    found = solve(features, targets)
    assert found.indices.shape == (0,)
    assert found.logits.shape == (0, 4)


def test_of_many_pictures_a_model_of_all_others_tells_of_those_held_out(monkeypatch):
    monkeypatch.setattr(head, "ENOUGH", 60)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 50)).astype(np.float32)
    targets = (features[:, 0] > 0).astype(np.int64)
    found = solve(features, targets, strength=1.0)
    assert len(found.indices) == 60
    others = np.setdiff1d(np.arange(400), found.indices)
    expected = solve(features[others], targets[others], strength=1.0)
    scale = head._scale(features)
    assert (
        np.corrcoef(found.logits[:, 1], logits(expected, features[found.indices])[:, 1])[0, 1]
        > 0.99
    )
    assert scale.shape == (50,)


def test_the_same_features_give_the_same_head():
    features, targets = blobs()
    first, second = solve(features, targets, seed=3), solve(features.copy(), targets, seed=3)
    assert np.array_equal(first.weight, second.weight)
    assert np.array_equal(first.bias, second.bias)
    assert first.scores == second.scores


def test_the_features_are_not_changed():
    features, targets = blobs()
    before = features.copy()
    solve(features, targets, strength=1.0)
    assert np.array_equal(features, before)


def test_a_fit_that_is_cut_short_warns_nobody(monkeypatch):
    monkeypatch.setattr(head, "TOLERANCE", 1e-12)
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 50)) * np.logspace(-4, 4, 50)).astype(np.float32)
    targets = (rng.random(200) < 0.5).astype(np.int64)
    solve(features, targets, strength=1e-9)


def test_a_group_is_held_out_as_a_whole():
    """Pictures of a group look alike, and its label is random: who has not seen it guesses."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 30))
    groups = np.repeat(np.arange(40), 8)
    features = (centres[groups] + 0.01 * rng.normal(size=(320, 30))).astype(np.float32)
    targets = (np.arange(40) % 2)[groups]

    def held_out_accuracy(**options):
        found = solve(features, targets, strength=1e-3, **options)
        return (found.logits.argmax(axis=1) == targets[found.indices]).mean()

    assert held_out_accuracy() > 0.95
    assert held_out_accuracy(groups=[str(g) for g in groups]) < 0.75


@pytest.mark.parametrize("number", [1, 2])
def test_a_class_of_few_groups_does_not_stop_the_fit(number):
    features, targets = blobs(n=60)
    groups = [f"{t}-{i % (number if t == 0 else 9)}" for i, t in enumerate(targets)]
    found = solve(features, targets, groups=groups)
    assert found.weight.shape == (3, features.shape[1])
    assert set(targets[found.indices]) == ({1, 2} if number == 1 else {0, 1, 2})
