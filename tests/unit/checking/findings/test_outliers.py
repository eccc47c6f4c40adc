from __future__ import annotations

import numpy as np
import pytest

from ilk.checking.findings import outliers
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.outliers import distances, find, outlier_scores
from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import STATISTICS, Facts, Inspection
from ilk.inference import hellinger as roots


def evidence(labels, features=None):
    pictures = tuple(Picture(str(i), label, digest=f"{i:032x}") for i, label in enumerate(labels))
    number = len(pictures)
    inspection = Inspection(
        Catalog(pictures),
        (Facts(),) * number,
        np.zeros((number, len(STATISTICS)), np.float32),
        np.zeros((number, 63), np.float32),
    )
    return Evidence(inspection, features)


def cloud(number, centre=0, width=16, seed=0):
    rng = np.random.default_rng(seed)
    return (10 * np.eye(width)[centre] + rng.random((number, width))).astype(np.float32)


def test_what_is_unlike_its_class_is_found():
    features = np.concatenate([cloud(60), cloud(60, centre=1, seed=1), cloud(1, centre=2, seed=2)])
    (finding,) = find(evidence([*["cat"] * 60, *["dog"] * 60, "dog"], features))
    assert (finding.kind, finding.severity, finding.paths) == ("outlier", "info", ("120",))
    assert "dog" in finding.detail
    assert finding.action


def test_the_farthest_comes_first():
    near = (cloud(1) + cloud(1, centre=2)) / 2
    features = np.concatenate([cloud(60), near, cloud(1, centre=2, seed=2)])
    assert [f.paths[0] for f in find(evidence(["cat"] * 62, features))] == ["61", "60"]


def test_hardly_any_of_ordinary_pictures_are_flagged():
    features = np.concatenate([cloud(500, centre=k, seed=k) for k in range(4)])
    labels = np.repeat(["a", "b", "c", "d"], 500)
    assert len(list(find(evidence(labels, features)))) < 0.005 * len(labels)


def test_nothing_is_said_without_features_or_pictures():
    assert not list(find(evidence(["cat"] * 30)))
    assert not list(find(evidence([], np.zeros((0, 4), np.float32))))


def test_a_class_too_small_to_have_a_usual_distance_has_no_outliers():
    features = np.concatenate([cloud(outliers.MIN_PICTURES - 2), cloud(1, centre=3)])
    assert not list(find(evidence(["cat"] * len(features), features)))


def test_distances_are_the_mean_over_neighbours_of_the_same_class():
    # In the plane, at 0, 60 and 90 degrees: chords of 2 sin(angle / 2). The roots undo the squares.
    angles = np.radians([0, 60, 90, 45])
    features = np.square(np.column_stack([np.cos(angles), np.sin(angles)])).astype(np.float32)
    chords = {degrees: 2 * np.sin(np.radians(degrees) / 2) for degrees in (30, 60, 90)}
    found = distances(features, np.array([0, 0, 0, 1]))
    expected = [
        (chords[60] + chords[90]) / 2,
        (chords[60] + chords[30]) / 2,
        (chords[90] + chords[30]) / 2,
        np.nan,
    ]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pictures_without_a_label_have_no_class():
    assert np.isnan(distances(cloud(5), np.full(5, -1))).all()


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_change_nothing(monkeypatch, block):
    features, targets = cloud(50), np.arange(50) % 2
    whole = distances(features, targets)
    monkeypatch.setattr(roots, "BLOCK", block)
    np.testing.assert_allclose(distances(features, targets), whole, atol=1e-3)


def test_a_large_class_is_compared_with_a_sample_of_itself(monkeypatch):
    features = np.concatenate([cloud(400), cloud(1, centre=2)])
    targets = np.zeros(401, np.int64)
    whole = distances(features, targets)
    monkeypatch.setattr(outliers, "SAMPLE", 100)
    sampled = distances(features, targets)
    assert (sampled >= whole - 1e-3).all()  # fewer to be near to
    assert sampled.argmax() == whole.argmax() == 400


def test_copies_are_at_no_distance():
    features = np.repeat(cloud(1), 30, axis=0)
    np.testing.assert_allclose(distances(features, np.zeros(30, np.int64)), 0, atol=2e-3)
    assert not list(find(evidence(["cat"] * 30, features)))


def test_outlier_scores_counts_scaled_median_deviations():
    values = np.array([*range(1, 22), 100], np.float32)
    scores = outlier_scores(values, np.zeros(22, np.int64))
    middle, deviation = 11.5, 5.5
    np.testing.assert_allclose(scores[-1], (100 - middle) / (1.4826 * deviation), rtol=1e-5)
    assert not outlier_scores(values, np.full(22, -1)).any()
