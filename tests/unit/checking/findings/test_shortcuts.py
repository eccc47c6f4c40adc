from __future__ import annotations

import numpy as np
import pytest

from ilk.checking.findings import shortcuts
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.shortcuts import find
from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import STATISTICS, Facts, Inspection


def evidence(labels, facts, brightness=None):
    number = len(labels)
    pictures = tuple(Picture(str(i), label, digest=f"{i:032x}") for i, label in enumerate(labels))
    looks = np.zeros((number, len(STATISTICS)), np.float32)
    looks[:, STATISTICS.index("brightness")] = 0.5 if brightness is None else brightness
    return Evidence(
        Inspection(Catalog(pictures), tuple(facts), looks, np.zeros((number, 63), np.float32))
    )


def ordinary(number, seed=0):
    """Return facts that have nothing to do with the class."""
    rng = np.random.default_rng(seed)
    return [
        {
            "width": int(rng.integers(200, 800)),
            "height": int(rng.integers(200, 800)),
            "bytes": int(rng.integers(20_000, 90_000)),
            "format": str(rng.choice(["JPEG", "PNG"])),
            "mode": str(rng.choice(["RGB", "L"])),
            "camera": str(rng.choice(["", "A", "B"])),
        }
        for _ in range(number)
    ]


LABELS = ["cat", "dog"] * 60


def found(labels=LABELS, change=lambda label, facts: {}, brightness=None):
    facts = [
        Facts(**{**facts, **change(label, facts)})
        for label, facts in zip(labels, ordinary(len(labels)), strict=True)
    ]
    return list(find(evidence(labels, facts, brightness)))


def test_what_has_nothing_to_do_with_the_class_is_no_shortcut():
    rng = np.random.default_rng(0)
    assert not found(brightness=rng.random(len(LABELS)))
    assert not found(["a", "b", "c", "d", "e", "f"] * 20)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("size", lambda dog, f: {"width": 900, "height": 700} if dog else {}),
        ("shape", lambda dog, f: {"height": f["width"] // 2 if dog else f["width"]}),
        (
            "compression",
            lambda dog, f: {"bytes": f["width"] * f["height"] // (10 if dog else 4)},
        ),
        ("format", lambda dog, f: {"format": "JPEG" if dog else "PNG"}),
        ("camera", lambda dog, f: {"camera": "Z 7" if dog else f["camera"]}),
        ("colour mode", lambda dog, f: {"mode": "L" if dog else "RGB"}),
    ],
)
def test_an_attribute_that_tells_the_class_is_a_shortcut(name, change):
    findings = found(change=lambda label, facts: change(label == "dog", facts))
    finding = next(f for f in findings if f.detail.startswith(f"{name} alone"))
    assert (finding.kind, finding.severity, finding.paths) == ("balance.shortcut", "warning", ())
    assert finding.action
    assert "(chance: 50 %)" in finding.detail


def test_brightness_can_be_a_shortcut():
    rng = np.random.default_rng(0)
    dark = [0.2 if label == "cat" else 0.7 for label in LABELS] + 0.1 * rng.random(len(LABELS))
    (finding,) = found(brightness=dark)
    assert finding.detail.startswith("brightness alone predicts the class")
    assert "100 % (chance: 50 %)" in finding.detail


def test_a_weak_relation_is_no_shortcut():
    rng = np.random.default_rng(0)
    hints = [0.2 * (label == "cat") for label in LABELS] + 0.5 * rng.random(len(LABELS))
    assert not found(brightness=hints)


def test_a_few_pictures_are_not_enough_to_say_so():
    def mode(label, facts):
        return {"mode": "L" if label == "dog" else "RGB"}

    assert not found(["cat", "dog"] * (shortcuts.MIN_PICTURES - 1), mode)
    assert found(["cat", "dog"] * 20, mode)


def test_pictures_without_a_label_and_small_classes_take_no_part():
    def mode(label, facts):
        return {"mode": "L" if label == "dog" else "RGB"}

    (finding,) = found([*LABELS, *["eel"] * 3, *[None] * 50], mode)
    assert "100 %" in finding.detail
    assert not found(["cat"] * 50 + [None] * 50)
    assert not found([])


def test_many_pictures_are_sampled(monkeypatch):
    monkeypatch.setattr(shortcuts, "MAX_PICTURES", 40)
    rows, targets = shortcuts._sampled(np.array([3, 5, -1] * 100))
    assert np.bincount(targets).tolist() == [20, 20]
    assert (np.array([3, 5])[targets] == np.array([3, 5, -1] * 100)[rows]).all()


def test_arrays_in_memory_have_no_attributes_that_differ():
    facts = [Facts(width=32, height=32)] * len(LABELS)
    assert not list(find(evidence(LABELS, facts)))
