from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.data.decode import decode
from ilk.engines.base import ChunkedEngine
from ilk.exporting.plain_pillow import by_pillow
from ilk.exporting.verify import compare_from_jpeg, compare_outputs
from ilk.inference.classifier import softmax
from ilk.spec import Preprocess


class Quarters(ChunkedEngine):
    """Runs the quarters, and remembers how many pictures came at once."""

    name = "quarters"

    def __init__(self, engine):
        self._engine = engine
        self.seen = set()

    def run_chunk(self, pixels):
        self.seen.add(len(pixels))
        features, logits = self._engine.run(pixels)
        return [softmax(logits, 0.5), logits, features]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def expected(engine, pixels):
    return softmax(engine.run(pixels).logits, 0.5)


def test_a_network_agrees_with_itself(engine, pixels, expected):
    found = compare_outputs(Quarters(engine), pixels, expected)
    assert found.largest < 1e-6
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.logits.shape == (64, 3)
    assert found.features.shape == (64, 12)


def test_the_sizes_are_what_the_runtime_saw(engine, pixels, expected):
    runner = Quarters(engine)
    assert compare_outputs(runner, pixels, expected).batch_sizes == (1, 2, 7, 32)
    assert runner.seen == {1, 2, 7, 32, runner.chunk}


def test_a_fault_in_what_the_engine_does_by_itself_is_seen(engine, pixels, expected):
    class Faulty(Quarters):
        def run_fastest(self, pixels):
            return [1 - super().run_fastest(pixels)[0]]

    assert compare_outputs(Faulty(engine), pixels, expected).largest > 0.01


@pytest.mark.parametrize("wrong", [1, 2, 7, 32])
def test_a_fault_at_one_size_of_batch_is_seen(engine, pixels, expected, wrong):
    class Faulty(Quarters):
        def run_chunk(self, pixels):
            probabilities, logits, features = super().run_chunk(pixels)
            return [probabilities[:, ::-1] if len(pixels) == wrong else probabilities, logits,
                    features]  # fmt: skip

    assert compare_outputs(Faulty(engine), pixels, expected).largest > 0.01


@pytest.mark.parametrize("which", [0, 1, 2])
def test_numbers_that_are_not_finite_are_seen_in_any_output(engine, pixels, expected, which):
    class Broken(Quarters):
        def run_chunk(self, pixels):
            found = super().run_chunk(pixels)
            found[which] = found[which] * np.nan
            return found

    assert math.isnan(compare_outputs(Broken(engine), pixels, expected).largest)


@pytest.mark.parametrize("wrong", [1, 2, 7, 32])
def test_probabilities_that_are_not_finite_are_seen_at_any_batch_size(
    engine, pixels, expected, wrong
):
    class Broken(Quarters):
        def run_chunk(self, pixels):
            found = super().run_chunk(pixels)
            return [found[0] * (np.nan if len(pixels) == wrong else 1), *found[1:]]

    assert math.isnan(compare_outputs(Broken(engine), pixels, expected).largest)


def test_few_pictures_are_tried_as_far_as_they_go(engine, pixels, expected):
    assert compare_outputs(Quarters(engine), pixels[:3], expected[:3]).batch_sizes == (1, 2, 3)


def test_a_file_that_takes_few_at_once_is_not_asked_for_more(engine, pixels, expected):
    runner = Quarters(engine)
    runner.max_batch = 1
    assert compare_outputs(runner, pixels, expected).batch_sizes == (1,)
    assert runner.seen == {1}


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(40, 30), (300, 200)])
def test_pillow_as_documented_gives_the_pixels_of_ilk(noise, encoded, resize, method, size):
    data = encoded(noise(1, size), "JPEG", subsampling="4:2:0")
    preprocess = Preprocess(imgsz=16, resize=resize, interpolation=method)
    assert np.array_equal(by_pillow(data, preprocess), decode(data, preprocess))


@pytest.fixture
def from_jpeg(engine, bundle, noise, encoded):
    """Compare a file with its model on JPEGs and one PNG, after a change of what ilk decoded."""

    def of(kinds=("JPEG", "JPEG", "PNG"), change=0):
        files = [encoded(noise(i, (30, 20)), kind) for i, kind in enumerate(kinds)]
        pixels = np.stack([decode(data, bundle.spec.preprocess) for data in files]) + np.uint8(
            change
        )
        expected = softmax(engine.run(pixels).logits, 0.5)
        reference = SimpleNamespace(
            bundle=bundle,
            probabilities=expected,
            pictures=SimpleNamespace(
                pixels=pixels, files=[Picture(str(i), content=data) for i, data in enumerate(files)]
            ),
        )
        runner = Quarters(engine)
        return compare_from_jpeg(runner, compare_outputs(runner, pixels, expected), reference)

    return of


def test_jpegs_by_pillow_agree_with_the_model(from_jpeg):
    found = from_jpeg()
    assert (found.top1_agreement.value, found.top1_agreement.n) == (1, 2)
    assert found.max_probability_difference < 1e-6


def test_pixels_that_differ_from_pillows_are_noticed(from_jpeg):
    assert from_jpeg(change=100).max_probability_difference > 0.01


def test_without_a_jpeg_there_is_nothing_to_say(from_jpeg):
    assert from_jpeg(("PNG",)) is None
