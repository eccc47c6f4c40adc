"""What is chosen after a training: temperature, thresholds, and what the artefact remembers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from ilk.data.catalog import Catalog, Picture
from ilk.errors import DataError, ModelError, UsageError
from ilk.evaluation.thresholds import choose_threshold, store_threshold, with_threshold
from ilk.inference.classifier import Classifier
from ilk.inference.records import Records
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.spec import Backbone, Preprocess, Spec
from ilk.training.calibrate import calibrated
from ilk.training.result import Outputs, TrainingFacts, TrainingResult

NAMES = ("cat", "dog", "eel")


def outputs(n, sharp=1.0, seed=0):
    """Logits that are ``sharp`` times what they should be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)).astype(np.float32) * 2
    labels = [NAMES[rng.choice(3, p=p)] for p in softmax(logits, axis=1)]
    pictures = tuple(Picture(f"{seed}/{i}", label, digest=f"{seed:04x}{i:028x}")
                     for i, label in enumerate(labels))  # fmt: skip
    features = np.abs(rng.normal(size=(n, 4))).astype(np.float32)
    return Outputs(pictures, features, logits * np.float32(sharp))


def bundle():
    spec = Spec(
        backbone=Backbone(name="resnet18", features=4, mean=(0, 0, 0), std=(1, 1, 1)),
        preprocess=Preprocess(imgsz=8),
        classes=NAMES,
    )
    return Bundle(
        spec, {HEAD_WEIGHT: np.ones((3, 4), np.float32), HEAD_BIAS: np.zeros(3, np.float32)}
    )


def trained(n=3_000, sharp=3.0):
    held_out, train_sample = outputs(n, sharp, 1), outputs(200, sharp, 2)
    return TrainingResult(
        bundle(), Catalog(()), outputs(0), held_out, train_sample, TrainingFacts("pytorch")
    )


def test_the_temperature_undoes_what_is_too_sharp():
    assert calibrated(trained(sharp=3.0)).spec.temperature == pytest.approx(3, rel=0.1)
    assert calibrated(trained(sharp=0.5)).spec.temperature == pytest.approx(0.5, rel=0.1)


def test_without_held_out_pictures_nothing_changes():
    before = trained(n=0)
    assert calibrated(before) is before.bundle


def test_the_artefact_remembers_held_out_pictures_and_known_ones(tmp_path):
    made = calibrated(trained())
    made.save(tmp_path / "m.safetensors")
    loaded = Bundle.load(tmp_path / "m.safetensors")
    logits, targets = loaded.held_out
    assert logits.shape == (3_000, 3)
    assert targets.dtype == np.int64
    assert loaded.spec == made.spec
    records = Records.of(loaded)
    assert records.novelty is not None
    assert records.novelty.known.shape == (200, 4)


def test_of_many_only_some_are_kept(monkeypatch):
    monkeypatch.setattr("ilk.training.calibrate.MOST", 300)
    logits, targets = calibrated(trained()).held_out
    assert logits.shape == (100, 3)
    assert targets.shape == (100,)


@pytest.mark.parametrize(
    "harm",
    [
        {"held_out.targets": np.full(3_000, 3)},
        {"held_out.targets": np.zeros(3_000, np.int32)},
        {"held_out.targets": np.int64(0)},
        {"known.features": np.float16(1)},
        {"known.features": np.zeros((3, 4), np.float16)},
        {"held_out.logits": np.full((3_000, 3), np.nan, np.float32)},
        {"held_out.logits": np.zeros((2_999, 3), np.float32)},
        {"known.features": np.zeros((0, 4), np.float16)},
        {"known.features": np.zeros((9, 5), np.float16)},
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path, harm):
    made = calibrated(trained())
    Bundle(made.spec, {**made.tensors, **harm}).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="its record of held-out pictures is broken"):
        Bundle.load(tmp_path / "m.safetensors")


def classifier(made):
    return Classifier(made.spec, None, "m.safetensors", Records.of(made))


def test_a_threshold_keeps_its_promise_on_new_pictures():
    made = calibrated(trained(n=5_000))
    chosen = choose_threshold(classifier(made), target_precision=0.9)
    new = outputs(5_000, 3.0, 9)
    p = softmax(new.logits / made.spec.temperature, axis=1)
    labels = np.array([picture.label for picture in new.pictures])
    sure, right = p.max(axis=1), np.array(NAMES)[p.argmax(axis=1)] == labels
    assert right[sure >= chosen.value].mean() > 0.88
    half = choose_threshold(classifier(made), target_coverage=0.5)
    assert (sure >= half.value).mean() == pytest.approx(0.5, abs=0.03)


def test_a_threshold_is_stored_in_the_file(tmp_path):
    file = tmp_path / "m.safetensors"
    made = calibrated(trained())
    made.save(file)
    chosen = choose_threshold(classifier(made), target_coverage=0.5)
    store_threshold(file, chosen)
    assert Bundle.load(file).spec.thresholds == {"accept": chosen.value}
    assert with_threshold(classifier(made), chosen).spec.thresholds == {"accept": chosen.value}


def test_exactly_one_target_is_wanted():
    made = classifier(calibrated(trained()))
    with pytest.raises(UsageError, match="one of"):
        choose_threshold(made)
    with pytest.raises(UsageError, match="one of"):
        choose_threshold(made, target_precision=0.9, target_coverage=0.9)


def test_a_model_without_a_record_of_held_out_pictures_is_refused():
    with pytest.raises(DataError, match="no record of held-out pictures"):
        choose_threshold(classifier(bundle()), target_coverage=0.9)
