from __future__ import annotations

import numpy as np
import pytest

from ilk.inference.hellinger import mean_distances, roots


def test_roots_keep_signs_and_have_unit_length():
    features = np.array([[9, -16, 0], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(roots(features), [[0.6, -0.8, 0], [0, 0, 0]], atol=1e-6)
    assert features.tolist() == [[9, -16, 0], [0, 0, 0]]


@pytest.mark.parametrize("pictures", [1, 3, 50])
def test_mean_distances_are_those_to_the_nearest_others(pictures):
    rng = np.random.default_rng(0)
    units, others = (roots(rng.normal(size=(n, 8)).astype(np.float32)) for n in (pictures, 30))
    keys, others_keys = np.full(pictures, 7), np.arange(30)  # the eighth other counts for none
    every = np.linalg.norm(units[:, None] - np.delete(others, 7, axis=0), axis=2)
    wanted = np.sort(every, axis=1)[:, :5].mean(axis=1)
    found = mean_distances(units, others, 5, keys, others_keys)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
