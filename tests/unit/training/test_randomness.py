from __future__ import annotations

import itertools

import numpy as np
import torch

from ilk.training.randomness import generator, key, numpy_generator

PLACES = list(itertools.product((0, 1, 2**32 - 1), ("step", "order"), (0, 1, 2), (0, 1, 10)))


def test_each_place_of_each_seed_has_a_key_of_its_own():
    keys = [key(*place) for place in PLACES]
    assert len(set(keys)) == len(PLACES)
    assert all(0 <= k < 2**63 for k in keys)
    assert key(1, 23) != key(12, 3)
    assert key(0, "1") != key(0, 1)


def test_a_key_is_the_same_in_every_process():
    """Whatever PYTHONHASHSEED is: an interrupted training resumes in another process."""
    assert key(0, "order", 0) == 4819849257279361181


def test_neighbouring_places_have_unrelated_draws():
    draws = np.array([numpy_generator(0, "step", i).random(50) for i in range(50)])
    correlations = np.corrcoef(draws)[~np.eye(50, dtype=bool)]
    assert abs(correlations).max() < 0.75  # 1,225 pairs of 50 independent draws
    assert abs(draws[:, 0].mean() - 0.5) < 0.2


def test_a_generator_depends_on_its_place_alone():
    torch.manual_seed(1)
    one = torch.rand(5, generator=generator(3, "step", 2))
    torch.manual_seed(2)
    assert torch.equal(one, torch.rand(5, generator=generator(3, "step", 2)))
    assert not torch.equal(one, torch.rand(5, generator=generator(3, "step", 3)))


def test_making_a_generator_leaves_global_draws_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    generator(3, "step").manual_seed(5)
    numpy_generator(3, "step").random()
    assert torch.equal(torch.rand(3), expected)
