from __future__ import annotations

import numpy as np
import pytest

from ilk.checking.findings.balance import effective_number, find
from ilk.checking.findings.evidence import Evidence
from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import STATISTICS, Facts, Inspection


def evidence(*pictures):
    number = len(pictures)
    return Evidence(
        Inspection(
            Catalog(tuple(pictures)),
            (Facts(),) * number,
            np.zeros((number, len(STATISTICS)), np.float32),
            np.zeros((number, 63), np.float32),
        )
    )


def pictures(label, number, split=None):
    return [Picture(f"{label}/{i}", label, split, digest=f"{label}{i}") for i in range(number)]


def found(*some):
    return list(find(evidence(*(p for group in some for p in group))))


@pytest.mark.parametrize(
    ("cats", "dogs", "expected"),
    [
        (10, 10, []),
        (10, 9, ["balance.few"]),
        (99, 10, []),
        (100, 10, ["balance.unequal"]),
        (40, 4, ["balance.few", "balance.unequal"]),
        (12, 2, ["balance.few", "balance.split"]),
        (12, 0, ["balance.one_class"]),
        (0, 0, ["balance.one_class"]),
    ],
)
def test_the_balance_of_the_classes(cats, dogs, expected):
    assert [f.kind for f in found(pictures("cat", cats), pictures("dog", dogs))] == expected


def test_one_class_is_an_error_and_the_rest_are_warnings():
    (finding,) = found(pictures("cat", 12))
    assert (finding.severity, finding.paths) == ("error", ())
    rest = found(pictures("cat", 100), pictures("dog", 2))
    assert {f.severity for f in rest} == {"warning"}
    assert all(f.detail and f.action for f in rest)


def test_pictures_without_a_label_are_no_class():
    assert found(pictures("cat", 12), pictures(None, 12))[0].kind == "balance.one_class"


def test_small_classes_are_named_with_their_numbers():
    (finding,) = found(pictures("cat", 12), pictures("eel", 9), pictures("dog", 4))
    assert finding.detail == "dog (4), eel (9)"


def test_unequal_classes_are_told_with_their_effective_number():
    (finding,) = found(pictures("cat", 100), pictures("dog", 10))
    assert finding.detail.startswith("cat has 100 pictures, dog 10;")
    assert "1.4 equal classes instead of 2" in finding.detail


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([5, 5, 5], 3), ([7], 1), ([5, 5, 0], 2), ([100, 10], 1.3561)],
)
def test_the_effective_number_of_classes(counts, expected):
    assert effective_number(counts) == pytest.approx(expected, abs=1e-4)


def test_copies_do_not_make_a_class_large_enough_to_be_split():
    same = [Picture(f"eel/{i}", "eel", digest="same") for i in range(20)]
    (finding,) = found(pictures("cat", 20), same)
    assert (finding.kind, finding.severity) == ("balance.split", "warning")
    assert "eel (1)" in finding.detail


def test_splits_that_are_given_need_no_splitting():
    few = [f.kind for f in found(pictures("cat", 12, "train"), pictures("dog", 2, "train"))]
    assert few == ["balance.few"]
