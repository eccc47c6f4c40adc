from __future__ import annotations

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.evaluation.mistakes import find_mistakes

NAMES = ("cat", "dog")


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    sure = rng.uniform(0.96, 0.99, 200).astype(np.float32)
    p = np.stack([np.where(truth == 0, sure, 1 - sure), np.where(truth == 1, sure, 1 - sure)], 1)
    labels = truth.copy()
    labels[[10, 20, 31]] = 1 - labels[[10, 20, 31]]  # wrong labels
    p[50] = (0.4, 0.6)  # and a mistake of the model, that is not sure of it
    pictures = [Picture(str(i), NAMES[k]) for i, k in enumerate(labels)]
    return find_mistakes(pictures, p, labels, NAMES)


def test_the_most_confident_mistakes_come_first(found):
    assert [m.picture.path for m in found.all][-1] == "50"
    margins = [m.probability - m.of_label for m in found.all]
    assert margins == sorted(margins, reverse=True)


def test_labels_that_are_contradicted_are_suspect(found):
    assert {m.picture.path for m in found.suspects} == {"10", "20", "31"}
    assert set(found.label_ranking[:3]) == {10, 20, 31}


def test_mistakes_are_found_by_pair(found):
    assert {m.picture.path for m in found.of_pair("cat", "dog")} == {"31", "50"}
    record = found.to_dict()
    assert len(record["mistakes"]) == 4
    assert len(record["likely_wrong_labels"]) == 3


def test_where_all_is_right_there_are_none():
    p = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    found = find_mistakes([Picture("a"), Picture("b")], p, np.array([0, 1]), NAMES)
    assert found.all == found.suspects == ()


def test_one_class_alone_has_no_suspects():
    p = np.array([[0.1, 0.9]], np.float32)
    found = find_mistakes([Picture("a", "cat")], p, np.array([0]), NAMES)
    assert len(found.all) == 1
    assert found.suspects == ()
