from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from ilk.evaluation.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from ilk.evaluation.corruptions import score_corrupted


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :128]
    image = np.stack([128 + 90 * np.sin(columns / 7), 2 * rows, 255 - 2 * columns], axis=-1)
    return (image + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_changes_the_picture_more_the_more_severe_it_is(photo, name):
    changes = []
    for severity in SEVERITIES:
        found = corrupt(photo, name, severity, seed=3)
        assert (found.shape, found.dtype) == (photo.shape, np.uint8)
        changes.append(np.abs(found.astype(float) - photo).mean())
    assert changes[0] > 0.5
    # As in the paper, glass and elastic are of another kind at each severity.
    assert changes[-1] > changes[0] or name in {"glass blur", "elastic"}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_picture(photo, name):
    assert np.array_equal(corrupt(photo, name, 3, seed=1), corrupt(photo, name, 3, seed=1))


@pytest.mark.parametrize("shape", [(8, 8, 3), (48, 100, 3)])
def test_pictures_of_any_size_are_taken(shape):
    grey = np.full(shape, 100, np.uint8)
    for name in CORRUPTIONS:
        assert corrupt(grey, name, 5).shape == shape


def test_noise_has_the_strength_of_the_paper(photo):
    grey = np.full((64, 64, 3), 128, np.uint8)
    for severity, sigma in zip(SEVERITIES, (0.08, 0.12, 0.18, 0.26, 0.38), strict=True):
        noise = corrupt(grey, "gaussian noise", severity).astype(float) / 255 - 128 / 255
        if severity < 4:  # beyond, much is cut off
            assert noise.std() == pytest.approx(sigma, rel=0.05)
    salted = corrupt(grey, "impulse noise", 5)
    assert np.isin(salted, (0, 255)).mean() == pytest.approx(0.27, abs=0.02)


def test_accuracies_are_those_of_the_model_on_the_corrupted_pictures(photo):
    pixels = np.stack([photo, 255 - photo, photo // 2])
    bright = pixels.mean(axis=(1, 2, 3)) > 100
    ticks = []

    def logits_of(some):
        mean = some.mean(axis=(1, 2, 3))
        return np.stack([100 - mean, mean - 100], axis=1).astype(np.float32)

    @contextmanager
    def progress(what, total):
        ticks.append(total)
        yield lambda number, remark="": ticks.append(-number)

    found = score_corrupted(logits_of, pixels, bright.astype(np.int64), progress)
    assert found.clean.value == 1
    assert set(found.by_corruption) == set(CORRUPTIONS)
    assert all(len(row) == 5 and row[0].n == 3 for row in found.by_corruption.values())
    assert found.by_corruption["contrast"][4].value == 1  # the mean stays as it is
    assert sum(ticks) == 0
    assert found.to_dict()["mean_accuracy"] == pytest.approx(found.mean)
