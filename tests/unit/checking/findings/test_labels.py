from __future__ import annotations

import numpy as np
import pytest

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.labels import find
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.class_names import plain
from ilk.data.inspection.inspect import STATISTICS, Facts, Inspection
from ilk.evaluation.label_issues import label_issues, margins


def evidence(labels, probabilities=None, splits=None, left_out=()):
    number = len(labels)
    pictures = tuple(
        Picture(f"{i}.jpg", label, split, digest=f"{i:032x}")
        for i, (label, split) in enumerate(zip(labels, splits or [None] * number, strict=True))
    )
    inspection = Inspection(
        Catalog(pictures, tuple(left_out)),
        (Facts(),) * number,
        np.zeros((number, len(STATISTICS)), np.float32),
        np.zeros((number, 63), np.float32),
    )
    return Evidence(inspection, None, probabilities)


def sure(targets, classes, confidence=0.9):
    """Return probabilities that agree with targets."""
    rest = (1 - confidence) / (classes - 1)
    found = np.full((len(targets), classes), rest, np.float32)
    found[np.arange(len(targets)), targets] = confidence
    return found


TRUE = np.arange(60) % 3


def test_labels_that_the_models_share_are_not_suspect():
    found = label_issues(sure(TRUE, 3), TRUE)
    assert not found.suspects.any()
    np.testing.assert_allclose(found.margins, 0.85, atol=1e-6)


def test_labels_that_they_contradict_are_suspect_and_come_first():
    given = TRUE.copy()
    given[[4, 17, 40]] = (given[[4, 17, 40]] + 1) % 3
    found = label_issues(sure(TRUE, 3), given)
    assert np.flatnonzero(found.suspects).tolist() == [4, 17, 40]
    assert set(found.ranking[:3]) == {4, 17, 40}


def test_a_single_label_that_is_plainly_contradicted_is_suspect():
    true = np.array([0] * 500 + [1] * 500)
    probabilities = sure(true, 2, 0.99)
    probabilities[[3, 4]] = [[0.3, 0.7], [0.4, 0.6]]
    assert np.flatnonzero(label_issues(probabilities, true).suspects).tolist() == [3]


def test_models_that_only_guess_contradict_nobody():
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 2
    first = rng.uniform(0, 1, 60)
    probabilities = np.column_stack([first, 1 - first]).astype(np.float32)
    assert not label_issues(probabilities, targets).suspects.any()


def test_the_surest_contradiction_ranks_first():
    given = TRUE.copy()
    given[[4, 17]] = (given[[4, 17]] + 1) % 3
    probabilities = sure(TRUE, 3)
    probabilities[17] = sure(TRUE[17:18], 3, 0.99)[0]
    assert label_issues(probabilities, given).ranking[:2].tolist() == [17, 4]


def test_what_nothing_is_known_of_is_not_suspect_and_ranks_last():
    given, probabilities = TRUE.copy(), sure(TRUE, 3)
    given[5], given[0] = -1, 1
    probabilities[7] = np.nan
    found = label_issues(probabilities, given)
    assert np.flatnonzero(found.suspects).tolist() == [0]
    assert set(found.ranking[-2:]) == {5, 7}
    assert np.flatnonzero(np.isnan(found.margins)).tolist() == [5, 7]


def test_classes_of_which_nothing_is_known_do_not_disturb():
    given = np.append(TRUE, 3)
    probabilities = np.vstack([np.pad(sure(TRUE, 3), ((0, 0), (0, 1))), np.full(4, np.nan)])
    assert not label_issues(probabilities.astype(np.float32), given).suspects.any()


def test_one_class_or_none_is_never_suspect():
    assert not label_issues(np.ones((5, 1), np.float32), np.zeros(5, np.int64)).suspects.any()
    unknown = np.full((5, 2), np.nan, np.float32)
    assert not label_issues(unknown, np.zeros(5, np.int64)).suspects.any()


def test_a_certain_prediction_of_a_class_that_does_not_occur_says_nothing_of_the_others():
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 0, 1, 2]]
    found = label_issues(probabilities, np.array([0, 1, 0, 1, 0]))
    assert found.margins[4] == 0
    assert not found.suspects[4]


def test_margins_worked_out_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(margins(probabilities, np.array([0, 1])), [0.5, -0.5], atol=1e-6)
    assert probabilities[0, 0] == np.float32(0.7)


def test_each_suspect_is_a_finding_that_says_what_it_looks_like():
    labels = ["cats", "dogs"] * 30
    probabilities = sure(np.arange(60) % 2, 2, 0.98)
    probabilities[[6, 9]] = [[0.01, 0.99], [0.97, 0.03]]
    first, second = find(evidence(labels, probabilities))
    assert (first.kind, first.severity, first.paths) == ("label.suspect", "warning", ("6.jpg",))
    assert first.detail == "labelled cats, looks like dogs (0.99 against 0.01)"
    assert second.detail == "labelled dogs, looks like cats (0.97 against 0.03)"
    assert first.action


def test_without_probabilities_no_label_is_suspect():
    assert not list(find(evidence(["cat", "dog"] * 10)))


def test_pictures_without_a_label_are_one_finding():
    left = [
        LeftOut("loose.jpg", "has no label", kind="file.unlabelled", unreadable=False),
        LeftOut("x.txt", "its ending", kind="file.ignored", unreadable=False),
    ]
    (finding,) = find(evidence(["cat", None, "dog"], left_out=left))
    assert (finding.kind, finding.severity) == ("file.unlabelled", "warning")
    assert finding.paths == ("1.jpg", "loose.jpg")
    assert finding.detail.startswith("2 without a label")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Red Fox", "red_fox", True),
        ("red-fox", "redfox", True),
        ("café", "cafe", True),
        ("cafe\u0301", "café", True),
        ("STRASSE", "straße", True),
        ("ｃａｔ", "cat", True),
        ("cat ", "cat", True),
        ("cat", "cats", False),
        ("1-1", "11", False),
        ("room 12", "room12", True),
        ("かき", "かぎ", False),
        ("-", "_", False),
    ],
)
def test_names_that_hardly_differ(one, other, same):
    assert (plain(one) == plain(other)) is same
    kinds = [f.kind for f in find(evidence([one, other]))]
    assert kinds == ["label.names"] * same


def test_names_are_shown_with_their_numbers():
    (finding,) = find(evidence(["Fox", "fox", "fox", "owl"]))
    assert "'Fox' (1 pictures), 'fox' (2 pictures)" in finding.detail
    assert (finding.severity, finding.paths) == ("warning", ())


def test_a_class_that_is_not_in_train_is_an_error():
    (finding,) = find(
        evidence(["cat", "dog", "cat", "dog", "eel"], splits=["train"] * 2 + ["test"] * 3)
    )
    assert (finding.kind, finding.severity) == ("label.splits", "error")
    assert "train has no pictures of eel" in finding.detail


def test_a_class_that_another_split_lacks_is_a_warning():
    splits = ["train", "train", "val", "val", "test"]
    (finding,) = find(evidence(["cat", "dog", "cat", "dog", "cat"], splits=splits))
    assert finding.severity == "warning"
    assert "test has no pictures of dog" in finding.detail


def test_pictures_without_splits_lack_no_class_in_any():
    assert not list(find(evidence(["cat", "dog"])))
