from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ilk.checking.findings.duplicates import find
from ilk.checking.findings.evidence import Evidence
from ilk.checking.quarantine.plan import chosen_files
from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import Facts, Inspection
from ilk.data.inspection.near import Pair


def evidence(*rows):
    """Return evidence of pictures, each given as digest, label, split and, perhaps, its width."""
    pictures, facts = [], []
    for i, (digest, label, split, *width) in enumerate(rows):
        pictures.append(Picture(f"{i}.jpg", label, split, digest))
        facts.append(Facts(width=width[0] if width else 10, height=10))
    nothing = np.zeros((len(rows), 0), np.float32)
    return Evidence(Inspection(Catalog(tuple(pictures)), tuple(facts), nothing, nothing))


def found(data, *pairs):
    return list(find(data, [Pair(*sorted(ends), 0.9, False) for ends in pairs]))


def kinds(data, *pairs):
    return [(f.kind, f.severity) for f in found(data, *pairs)]


def test_where_nothing_is_twice_nothing_is_found():
    assert found(evidence(("a", "cat", None), ("b", "dog", None))) == []


def test_the_same_file_three_times():
    data = evidence(("a", "cat", None), ("b", "cat", None), ("a", "cat", None), ("a", "cat", None))
    (finding,) = found(data)
    assert (finding.kind, finding.severity) == ("duplicate.exact", "warning")
    assert finding.paths == ("0.jpg", "2.jpg", "3.jpg")
    assert finding.detail == "3 identical files"
    assert finding.action


def test_near_copies_with_all_their_exact_copies():
    data = evidence(("a", "cat", None), ("b", "cat", None), ("c", "cat", None), ("a", "cat", None))
    exact, near = found(data, (0, 1))
    assert (exact.kind, exact.paths) == ("duplicate.exact", ("0.jpg", "3.jpg"))
    assert (near.kind, near.severity) == ("duplicate.near", "warning")
    assert near.paths == ("0.jpg", "1.jpg", "3.jpg")


def test_what_is_mirrored_is_told():
    data = evidence(("a", "cat", None), ("b", "cat", None))
    (finding,) = find(data, [Pair(0, 1, 0.9, mirrored=True)])
    assert finding.detail == "2 near copies, some of them mirrored"


@pytest.mark.parametrize(("other", "how"), [("a", "exact"), ("b", "near")])
def test_copies_in_several_splits_leak(other, how):
    data = evidence(("a", "cat", "train"), (other, "cat", "test"))
    (finding,) = found(data, *([(0, 1)] if how == "near" else []))
    assert (finding.kind, finding.severity) == (f"leakage.{how}", "error")
    assert finding.detail.endswith(" in train and test: the score will be optimistic")


def test_of_a_leak_what_scores_are_taken_on_is_named_first():
    data = evidence(("a", "cat", "train"), ("a", "cat", "val"), ("a", "cat", "test"))
    (finding,) = found(data)
    assert finding.paths == ("2.jpg", "1.jpg", "0.jpg")
    assert "in train, val and test" in finding.detail


def test_of_near_copies_the_largest_is_named_first():
    data = evidence(("a", "cat", None, 30), ("b", "cat", None, 50), ("c", "cat", None, 40))
    (finding,) = found(data, (0, 1), (1, 2), (0, 2))
    assert finding.paths == ("1.jpg", "2.jpg", "0.jpg")


@pytest.mark.parametrize(
    ("other", "pairs", "severity"), [("a", [], "error"), ("b", [(0, 1)], "warning")]
)
def test_copies_under_several_labels_are_a_conflict(other, pairs, severity):
    data = evidence(("a", "dog", "train"), (other, "cat", "train"))
    (finding,) = found(data, *pairs)
    assert (finding.kind, finding.severity) == ("label.conflict", severity)
    assert finding.detail.endswith("labelled cat, dog")


def test_a_copy_without_a_label_is_no_conflict():
    assert kinds(evidence(("a", "dog", None), ("a", None, None))) == [
        ("duplicate.exact", "warning")
    ]


def test_copies_may_leak_and_be_in_conflict():
    data = evidence(("a", "dog", "train"), ("a", "cat", "test"))
    assert kinds(data) == [("leakage.exact", "error"), ("label.conflict", "error")]


def test_exact_copies_come_first():
    data = evidence(*((name, "cat", None) for name in "abcc"))
    assert kinds(data, (0, 1)) == [("duplicate.exact", "warning"), ("duplicate.near", "warning")]


def test_a_group_in_several_splits_leaks_but_its_pictures_are_not_moved():
    data = evidence(("a", "cat", "train"), ("b", "cat", "test"), ("c", "dog", "test"))
    pictures = [replace(p, group="P1" * (i < 2)) for i, p in enumerate(data.catalog.pictures)]
    catalog = replace(data.catalog, pictures=tuple(pictures))
    data = replace(data, inspection=replace(data.inspection, catalog=catalog))
    (finding,) = found(data)
    assert (finding.kind, finding.severity) == ("leakage.group", "error")
    assert finding.detail == "group P1: 2 pictures in train and test"
    assert chosen_files([finding]) == {}
