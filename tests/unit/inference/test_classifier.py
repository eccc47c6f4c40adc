from __future__ import annotations

import io
import json
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ilk.data.catalog import Picture
from ilk.data.in_memory import from_arrays
from ilk.data.inputs import pictures_of
from ilk.errors import DataError, ModelError, UsageError
from ilk.inference.classifier import Classifier, load, softmax
from ilk.inference.features import extract
from ilk.inference.predictions import Predictions
from ilk.spec import Preprocess

RNG = np.random.default_rng(0)


@pytest.fixture
def classifier(bundle, engine):
    return Classifier(bundle.spec, engine, "model.safetensors")


@pytest.fixture
def array():
    return RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_softmax_is_softmax_at_any_size_of_logits():
    logits = np.array([[0, 1, 2], [1e4, 0, -1e4]], np.float32)
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(softmax(logits)[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(softmax(logits)[1], [1, 0, 0])
    np.testing.assert_allclose(softmax(logits, 2.0)[0], softmax(logits / 2)[0], rtol=1e-6)


def test_the_same_picture_in_any_form_gets_the_same_answer(classifier, array, tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(png(array))
    forms = [
        str(file),
        file,
        png(array),
        bytearray(png(array)),
        memoryview(png(array)),
        array,
        Image.fromarray(array),
    ]
    alone = [classifier.predict(form) for form in forms]
    together = classifier.predict(forms)
    many = classifier.predict(np.stack([array] * 3))
    catalog = classifier.predict(from_arrays([array]))
    assert [len(p) for p in (*alone, together, many, catalog)] == [1] * 7 + [7, 3, 1]
    for row in np.concatenate([p.probabilities for p in (*alone, together, many, catalog)]):
        np.testing.assert_allclose(row, alone[0].probabilities[0], atol=1e-6)
    assert together.paths[:3] == (str(file), str(file), "picture 2")


def test_grey_arrays_are_taken(classifier, array):
    grey = array[..., 0]
    expected = classifier.predict(np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(classifier.predict(grey).probabilities, expected.probabilities)


def test_bad_pictures_do_not_harm_the_others(classifier, array, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    good = png(array)
    inputs = [good, b"junk", tmp_path / "none.png", array, tmp_path / "bad.jpg", good[:60], good]
    for batch in (1, 2, 3, 32):
        found = classifier.predict(inputs, batch=batch)
        assert sorted(found.errors) == [1, 2, 4, 5]
        assert [label is None for label in found.labels] == [i in found.errors for i in range(7)]
        assert np.isnan(found.probabilities[[1, 2, 4, 5]]).all()
        for row in (0, 3, 6):
            expected = classifier.predict(array).probabilities[0]
            np.testing.assert_allclose(found.probabilities[row], expected, atol=1e-6)
    assert "cannot be opened: No such file" in found[2].error
    assert "is not a picture" in found[4].error


def test_nothing_but_bad_pictures(classifier):
    found = classifier.predict([b"x", b""])
    assert found.labels == [None, None]
    assert found[1].error == "is empty"


def test_no_pictures_at_all(classifier):
    found = classifier.predict([])
    assert len(found) == 0
    assert found.labels == []
    assert found.probabilities.shape == (0, 3)


@pytest.mark.parametrize("inputs", [None, 3, 3.5, object()])
def test_what_is_no_picture_is_a_usage_error(classifier, inputs):
    with pytest.raises(UsageError, match=r"Picture 0 is of type .*give a path"):
        classifier.predict(inputs)


@pytest.mark.parametrize("item", [None, 3.5, object(), ["a.png"]])
def test_what_is_no_picture_in_a_list_is_a_row_even_alone(classifier, item):
    (row,) = classifier.predict([item])
    assert row.error.startswith(f"is of type {type(item).__name__}; give a path")


@pytest.mark.parametrize("shape", [(8, 8, 4), (8,), (8, 8, 1)])
def test_arrays_of_other_shapes_are_refused(classifier, shape):
    with pytest.raises(DataError, match="Picture 0 is uint8"):
        classifier.predict(np.zeros(shape, np.uint8))


def test_a_generator_of_paths_is_taken():
    pictures = pictures_of(Path(name) for name in ("a", "b"))
    assert pictures == [Picture("a"), Picture("b")]


def test_probabilities_are_the_softmax_of_the_engines_logits(classifier, engine, array):
    found = classifier.predict(array)
    np.testing.assert_allclose(found.probabilities, softmax(engine.run(array[None]).logits))
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)


def test_the_temperature_softens_and_changes_no_label(bundle, as_engine, array):
    warm = bundle.spec.model_copy(update={"temperature": 5.0})
    cold, soft = (Classifier(s, as_engine(bundle)).predict(array) for s in (bundle.spec, warm))
    assert soft.labels == cold.labels
    assert soft.probabilities.max() < cold.probabilities.max()


def test_pictures_are_run_batch_by_batch_in_order(classifier, engine):
    pictures = pictures_of(RNG.integers(0, 256, (10, 8, 8, 3)).astype(np.uint8))
    parts = list(classifier.stream(pictures, batch=4))
    assert [len(part) for part in parts] == [4, 4, 2]
    joined = np.concatenate([part.probabilities for part in parts])
    whole = classifier.predict(np.stack([p.content for p in pictures]))
    np.testing.assert_allclose(joined, whole.probabilities, atol=1e-6)
    assert engine.pictures == 20


def test_a_bare_backbone_predicts_nothing(bare_bundle, as_engine, array):
    with pytest.raises(UsageError, match="bare backbone"):
        Classifier(bare_bundle.spec, as_engine(bare_bundle)).predict(array)


def test_loading_a_bare_backbone_or_nothing_is_refused(bare_bundle, tmp_path):
    bare_bundle.save(tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match="bare backbone without classes"):
        load(tmp_path / "bare.safetensors")
    with pytest.raises(ModelError, match="none"):
        load(tmp_path / "none")


def test_a_classifier_says_what_it_is(classifier):
    assert repr(classifier) == "Classifier(resnet18, 3 classes, quarters)"
    assert classifier.classes == ("cat", "dog", "eel")


@pytest.fixture
def predictions():
    values = np.array([[0.2, 0.7, 0.1], [np.nan] * 3, [0.4, 0.2, 0.4]], np.float32)
    novelty = np.array([0.1, np.nan, 5], np.float32)
    names, classes = ("a", "b", "c"), ("cat", "dog", "eel")
    return Predictions(
        names, classes, values, novelty, {1: "is empty"}, accept_threshold=0.5, novelty_threshold=3
    )


def test_predictions_are_a_sequence(predictions):
    assert len(predictions) == 3
    assert [p.label for p in predictions] == predictions.labels == ["dog", None, "cat"]
    assert predictions[-1].path == "c"
    assert [p.path for p in predictions[1:]] == ["b", "c"]
    assert predictions[np.int64(2)].label == "cat"
    with pytest.raises(IndexError):
        predictions[3]


def test_a_prediction_is_the_record_of_the_json(predictions):
    assert json.loads(json.dumps(predictions.at(0, top=2).to_dict())) == {
        "path": "a",
        "label": "dog",
        "probability": 0.7,
        "top": [{"label": "dog", "probability": 0.7}, {"label": "cat", "probability": 0.2}],
        "accepted": True,
        "unknown": False,
        "error": None,
    }
    assert predictions[1].to_dict() == {
        "path": "b",
        "label": None,
        "probability": None,
        "top": [],
        "accepted": None,
        "unknown": None,
        "error": "is empty",
    }


def test_what_is_unsure_is_not_accepted_and_what_is_strange_is_unknown(predictions):
    assert predictions.accepted.tolist() == [True, False, False]
    assert predictions.unknown.tolist() == [False, False, True]
    assert (predictions[2].accepted, predictions[2].unknown) == (False, True)


def test_a_model_that_cannot_tell_says_neither_known_nor_unknown():
    values = np.array([[0.2, 0.8]], np.float32)
    (found,) = Predictions(("a",), ("cat", "dog"), values, np.full(1, np.nan, np.float32), {})
    assert (found.accepted, found.unknown) == (True, None)


def ready(bundle, engine):
    opening = Future()
    opening.set_result((bundle, engine))
    return opening


PREPROCESS = Preprocess(imgsz=8)


def test_features_are_computed_once_and_then_cached(bare_bundle, as_engine, catalog, telling):
    pictures, engine = catalog.digested().pictures, as_engine(bare_bundle)
    ticks = []
    first = extract(
        pictures, ready(bare_bundle, engine), PREPROCESS, batch=7, progress=telling(ticks)
    )
    assert (first.computed, engine.pictures, sum(ticks)) == (60, 60, 60)
    again = extract(pictures[::-1], ready(bare_bundle, engine), PREPROCESS)
    assert (again.computed, engine.pictures) == (0, 60)
    np.testing.assert_array_equal(again.features, first.features[::-1])
    other = extract(
        pictures, ready(bare_bundle, engine), PREPROCESS.model_copy(update={"resize": "crop"})
    )
    assert other.computed == 60


def test_only_what_is_new_is_computed(bare_bundle, as_engine, catalog):
    pictures, engine = catalog.digested().pictures, as_engine(bare_bundle)
    extract(pictures[:40], ready(bare_bundle, engine), PREPROCESS)
    whole = extract(pictures, ready(bare_bundle, engine), PREPROCESS)
    assert whole.computed == 20
    fresh = np.stack([p.content for p in pictures])
    assert whole.features.shape == (60, 12)
    assert len(np.unique(whole.features.round(4), axis=0)) == len(fresh)


def test_pictures_that_cannot_be_decoded_are_told_by_row(bare_bundle, as_engine, catalog):
    pictures = list(catalog.digested().pictures[:5])
    pictures[2] = Picture("bad.png", "red", digest="00" * 16, content=b"junk")
    found = extract(pictures, ready(bare_bundle, as_engine(bare_bundle)), PREPROCESS, batch=2)
    assert list(found.errors) == [2]
    assert found.computed == 4
    again = extract(pictures, ready(bare_bundle, as_engine(bare_bundle)), PREPROCESS, batch=2)
    assert (list(again.errors), again.computed) == ([2], 0)


def test_decoding_goes_ahead_while_the_backbone_is_made_ready(bare_bundle, as_engine, catalog):
    class Late(Future):
        def result(self, timeout=None):
            return bare_bundle, as_engine(bare_bundle)

    opening = Late()  # never done, as one still in the making
    found = extract(catalog.digested().pictures, opening, PREPROCESS, batch=7)
    assert found.computed == 60
    assert not found.errors


def test_a_backbone_that_fails_ends_the_decoding(catalog):
    class Failing(Future):
        def result(self, timeout=None):
            raise ModelError("no backbone")

    opening = Failing()
    with pytest.raises(ModelError, match="no backbone"):
        extract(catalog.digested().pictures, opening, PREPROCESS)


@pytest.mark.parametrize("done", [True, False])
def test_a_failure_before_the_first_batch_ends_the_decoding(
    bare_bundle, as_engine, catalog, monkeypatch, no_decoders, done
):
    def fail(what, total):
        raise ZeroDivisionError

    opening = ready(bare_bundle, as_engine(bare_bundle))
    monkeypatch.setattr(opening, "done", lambda: done)
    with pytest.raises(ZeroDivisionError) as caught:
        extract(catalog.digested().pictures, opening, PREPROCESS, progress=fail)
    assert no_decoders()
    del caught  # it held everything
