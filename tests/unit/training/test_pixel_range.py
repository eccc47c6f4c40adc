"""Trainings on pictures of many bits or channels: what is measured, said, stored and applied."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.checking.check import check
from ilk.errors import DataError
from ilk.inference.classifier import Classifier
from ilk.models.bundle import Bundle
from ilk.training.pixels import open_pixels

pytestmark = pytest.mark.usefixtures("quick_plots")
RNG = np.random.default_rng(0)
BRIGHT = {"day": 160, "night": 60}
NUMBER = 8


def greys(label):
    noise = RNG.normal(BRIGHT[label], 50, (NUMBER, 24, 24))
    return np.clip(noise, 0, 255).astype(np.uint8)


GREYS = {label: greys(label) for label in BRIGHT}


def write(folder, convert, suffix=".tif", **options):
    for label, pictures in GREYS.items():
        (folder / label).mkdir(parents=True)
        for i, values in enumerate(pictures):
            Image.fromarray(convert(values)).save(folder / label / f"{i}{suffix}", **options)
    return folder


def twelve_bits(values):
    return values.astype(np.uint16) * 16


@pytest.fixture
def trained(tmp_path, fake_backbone, as_engine, monkeypatch):
    """Return ``trained(folder, **changes)``: the run, and its classifier."""
    monkeypatch.chdir(tmp_path)

    def train(data, **changes):
        run = ilk.train(data, imgsz=8, exist_ok=True, name="r", **changes)
        bundle = Bundle.load(run.model)
        return run, Classifier(bundle.spec, as_engine(bundle), "m")

    return train


@pytest.mark.parametrize(
    ("convert", "expected"),
    [
        (twelve_bits, (0, 4095)),
        (lambda v: v.astype(np.int32), (0, 255)),
        (lambda v: (v / 255).astype(np.float32), (0, 1)),
    ],
)
def test_a_model_reads_values_by_the_range_that_was_measured(
    tmp_path, trained, caplog, convert, expected
):
    caplog.set_level(logging.INFO)
    data = write(tmp_path / "data", convert)
    run, classifier = trained(data)
    assert classifier.spec.preprocess.conversion.range == expected
    assert run.catalog.conversion.range == expected
    low, high = expected
    assert (
        f"16 of 16 pictures have more than 8 bits: {low} to {high} become 0 to 255" in caplog.text
    )
    files = sorted(data.rglob("*.tif"))
    found = classifier.predict(files).probabilities
    for same in (
        [file.read_bytes() for file in files],
        [Image.open(file) for file in files],
        [np.asarray(Image.open(file)) for file in files],
        np.stack([np.repeat(np.asarray(Image.open(f))[..., None], 3, 2) for f in files]),
    ):
        assert np.array_equal(classifier.predict(same).probabilities, found)
    in_8_bits = np.concatenate([GREYS[label] for label in sorted(GREYS)])
    assert np.allclose(classifier.predict(list(in_8_bits)).probabilities, found, atol=0.02)


def test_arrays_of_many_bits_train_as_files_do(trained):
    images = np.concatenate([twelve_bits(values) for values in GREYS.values()])
    labels = [label for label in GREYS for _ in range(NUMBER)]
    _, classifier = trained((images, labels))
    assert classifier.spec.preprocess.conversion.range == (0, 4095)
    assert list(classifier.predict(list(images)).labels) == labels


def test_a_range_can_be_given_and_is_in_the_recipe(tmp_path, trained):
    data = write(tmp_path / "data", twelve_bits)
    run, classifier = trained(data, range=(100, 3000))
    assert classifier.spec.preprocess.conversion.range == (100, 3000)
    assert "range: 100:3000" in (run.folder / "recipe.yaml").read_text()
    assert trained(data, range="full")[1].spec.preprocess.conversion.range is None


def test_a_range_that_nothing_needs_is_kept_and_said(tmp_path, trained, caplog):
    data = write(tmp_path / "data", lambda v: v, ".png")
    _, classifier = trained(data, range="0:4095")
    assert "No picture has more than 8 bits" in caplog.text
    assert classifier.spec.preprocess.conversion.range == (0, 4095)


def test_8_bit_pictures_alone_have_no_range_and_floats_are_refused_then(tmp_path, trained):
    _, classifier = trained(write(tmp_path / "data", lambda v: v, ".png"))
    assert classifier.spec.preprocess.conversion.range is None
    with pytest.raises(DataError, match=r"float64 \[24, 24\]; give uint8"):
        classifier.predict(GREYS["day"][0] / 255)


def test_channels_are_used_stored_and_said(tmp_path, trained, caplog):
    caplog.set_level(logging.INFO)
    data = tmp_path / "data"
    for label, pictures in GREYS.items():
        (data / label).mkdir(parents=True)
        for i, values in enumerate(pictures):
            blank = Image.fromarray(np.full((24, 24), i, np.uint16))
            page = Image.fromarray(twelve_bits(values))
            blank.save(data / label / f"{i}.tif", save_all=True, append_images=[page])
    _, classifier = trained(data, channels=1)
    assert "16 files have several pages or channels (up to 2): used are --channels 1" in caplog.text
    assert classifier.spec.preprocess.conversion.channels == (1,)
    assert set(classifier.predict(data / "day").labels) == {"day"}
    trained(data)
    assert "the first is used; --channels 2 or --channels 0,1,2 uses others" in caplog.text
    with pytest.raises(DataError, match="has 2 pages or channels, and --channels 2 asks for more"):
        trained(data, channels=2)


def test_the_range_is_that_of_the_training_pictures(tmp_path, trained):
    data = tmp_path / "data"
    write(data / "train", twelve_bits)
    write(data / "test", lambda v: (255 - v).astype(np.uint16) * 200)
    assert trained(data)[1].spec.preprocess.conversion.range == (0, 4095)


def test_cached_features_of_another_range_are_not_used(tmp_path, trained, fake_backbone):
    data = write(tmp_path / "data", twelve_bits)
    trained(data, range="0:4095")
    before = fake_backbone.pictures
    trained(data, range="0:65535")
    assert fake_backbone.pictures == before + 2 * NUMBER
    trained(data, range="0:4095")
    assert fake_backbone.pictures == before + 2 * NUMBER


def test_cached_pixels_are_those_of_the_range(tmp_path, trained):
    run, classifier = trained(write(tmp_path / "data", twelve_bits))
    source = open_pixels(run.catalog.pictures, classifier.spec.preprocess)
    assert 200 < source.pixels.max() <= 255


def test_a_check_finds_nothing_dark_or_blank_in_pictures_of_many_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, convert in (("a", twelve_bits), ("b", lambda v: (v / 255).astype(np.float32))):
        found = check(write(tmp_path / name, convert), quick=True, channels=0)
        kinds = {finding.kind for finding in found.findings}
        assert not any(kind.startswith("picture.") or kind == "file.unreadable" for kind in kinds)
        modes = [finding.detail for finding in found.findings if finding.kind == "file.mode"]
        assert modes
        assert all("become 0 to 255" in detail for detail in modes)


def test_a_server_reads_values_by_the_range_and_takes_the_formats_of_the_training(
    tmp_path, trained
):
    from ilk.serving.limits import Limits

    _, classifier = trained(write(tmp_path / "data", twelve_bits))
    accepted = Limits().formats_of(classifier.spec)
    assert accepted == ("JPEG", "PNG", "WEBP", "TIFF")
    assert Limits(formats=("PNG",)).formats_of(classifier.spec) == ("PNG",)
    for odd in ("TIFF", ["EXE", 3, None], {"a": 1}, None):
        spec = classifier.spec.model_copy(update={"provenance": {"formats": odd}})
        assert Limits().formats_of(spec) == ("JPEG", "PNG", "WEBP")


def test_an_8_bit_model_still_reads_16_bit_grey_as_before(tmp_path, trained):
    _, classifier = trained(write(tmp_path / "data", lambda v: v, ".png"))
    values = GREYS["day"][0]
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint16) * 257).save(buffer, "PNG")
    one, other = classifier.predict([values, buffer.getvalue()]).probabilities
    assert np.array_equal(one, other)
