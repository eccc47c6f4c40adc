from __future__ import annotations

import numpy as np

from ilk.evaluation.slices import sliced


def test_the_worst_come_first_and_of_equals_the_small():
    values = ["a"] * 10 + ["b"] * 4 + ["c"] * 8
    right = np.array([True] * 10 + [True, False] * 2 + [False, True] * 4)
    found = sliced(values, right)
    assert [(s.value, s.accuracy.value, s.accuracy.n) for s in found] == [
        ("b", 0.5, 4),
        ("c", 0.5, 8),
        ("a", 1.0, 10),
    ]


def test_a_slice_differs_if_the_others_lie_outside_of_its_interval():
    right = np.array([True] * 95 + [False] * 5 + [True] * 10 + [False] * 40)
    night, day = sliced(["day"] * 100 + ["night"] * 50, right)
    assert (night.value, night.differs, day.differs) == ("night", True, True)
    alike = sliced(["x", "y"] * 20, np.array([True, True, True, False] * 10))
    assert len(alike) == 2


def test_one_slice_of_all_differs_from_nothing():
    (found,) = sliced(["a"] * 5, np.array([True] * 5))
    assert not found.differs
