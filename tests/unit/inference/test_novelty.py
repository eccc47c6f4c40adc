from __future__ import annotations

import numpy as np
import pytest

from ilk.inference.hellinger import roots
from ilk.inference.novelty import FEWEST, NoveltyDetector, fit


def pictures(n, shift=0.0, seed=0, width=16):
    rng = np.random.default_rng(seed)
    features = np.abs(rng.normal(size=(n, width)))
    features[:, : width // 2] += 3
    features[:, width // 2 :] += shift
    return features.astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32) * 2


def names(n, start=0):
    return [str(start + i) for i in range(n)]


@pytest.fixture
def detector():
    known, _ = pictures(200)
    held_out, logits = pictures(100, seed=1)
    spec = fit(known, names(200), held_out, names(100, 500), logits)
    return NoveltyDetector(spec, roots(known).astype(np.float16))


def test_what_is_unlike_all_that_was_learned_is_stranger(detector):
    usual, strange = (detector.scores(*pictures(100, shift, seed=2)) for shift in (0, 6))
    assert usual.dtype == np.float32
    assert usual.max() < strange.min()
    assert (strange > detector.spec.threshold).all()
    assert (usual > detector.spec.threshold).mean() < 0.1


def test_what_lies_between_the_classes_is_stranger(detector):
    features, _ = pictures(50, seed=3)
    sure = np.tile(np.array([[9.0, 0, 0]], np.float32), (50, 1))
    unsure = np.full((50, 3), -3, np.float32)
    assert (detector.scores(features, unsure) > detector.scores(features, sure)).all()


def test_a_copy_of_a_known_picture_is_not_its_own_neighbour():
    known, logits = pictures(100)
    others, more = pictures(100, seed=1)
    apart = fit(known, names(100), known, names(100), logits)
    fresh = fit(known, names(100), others, names(100, 500), more)
    assert apart.distance.mean == pytest.approx(fresh.distance.mean, rel=0.15)


@pytest.mark.parametrize(("known", "held_out"), [(1, 50), (50, FEWEST - 1), (0, 0)])
def test_with_too_few_pictures_nothing_can_be_told(known, held_out):
    one, (other, logits) = pictures(known)[0], pictures(held_out, seed=1)
    assert fit(one, names(known), other, names(held_out, 100), logits) is None


def test_features_that_never_change_do_no_harm():
    same = np.ones((30, 4), np.float32)
    logits = np.zeros((30, 2), np.float32)
    spec = fit(same, names(30), same, names(30, 50), logits)
    scores = NoveltyDetector(spec, roots(same)).scores(same, logits)
    assert np.isfinite(scores).all()
