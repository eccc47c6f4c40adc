from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.models.bundle import Bundle


def test_the_digits_are_learned(run):
    accuracy = run.evaluation.accuracy
    assert accuracy.value > 0.75
    assert accuracy.low < accuracy.value < accuracy.high
    assert run.evaluation.n == 80
    assert run.evaluation.split == "test"
    assert run.facts.head.features_computed == 300


def test_a_warm_cache_computes_nothing_and_gives_the_same_model(run, digits, tmp_path):
    again = ilk.train(digits, runs=tmp_path)
    assert again.facts.head.features_computed == 0
    assert again.evaluation.accuracy == run.evaluation.accuracy
    one, two = Bundle.load(run.model).tensors, Bundle.load(again.model).tensors
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[name])


@pytest.mark.parametrize("engine", ["openvino", "pytorch"])
def test_the_saved_model_reproduces_the_score_of_its_training(run, digits, engine):
    found = ilk.evaluate(ilk.load(run.model, engine=engine), digits)
    assert (found.n, found.split) == (80, "test")
    if engine == "openvino":  # which trained it
        np.testing.assert_array_equal(found.confusion, run.evaluation.confusion)
    assert found.accuracy.value == pytest.approx(run.evaluation.accuracy.value, abs=0.03)


def test_the_model_names_pictures_in_every_form(run, digits, tmp_path):
    images, labels = digits
    classifier = ilk.load(run.folder)
    picture = Image.fromarray(images[0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    picture.save(tmp_path / "zero.png")
    found = classifier.predict([tmp_path / "zero.png", buffer.getvalue(), images[0], picture, b""])
    assert found.labels == [labels[0]] * 4 + [None]
    for row in found.probabilities[1:4]:
        np.testing.assert_allclose(row, found.probabilities[0], atol=0.02)
    many = classifier.predict(np.stack(images[:40]))
    assert np.mean([a == b for a, b in zip(many.labels, labels[:40], strict=True)]) > 0.9


def test_photos_of_any_size_are_taken(run, photos):
    found = ilk.load(run.model).predict([*photos, photos[0].resize((31, 700))])
    assert not found.errors
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
