"""A backbone that needs no torch: its features are the mean colours of a picture's quarters."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import ilk
from ilk.data.in_memory import from_arrays
from ilk.engines.base import Engine, Outputs
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.spec import Backbone, Preprocess, Spec

QUARTERS = 12


class QuarterEngine(Engine):
    name = "quarters"

    def __init__(self, bundle):
        self.bundle = bundle
        self.pictures = 0

    def run(self, pixels):
        assert pixels.dtype == np.uint8
        number, size = len(pixels), pixels.shape[1]
        self.pictures += number
        blocks = pixels.reshape(number, 2, size // 2, 2, size // 2, 3).mean(axis=(2, 4)) / 255
        features = blocks.reshape(number, QUARTERS).astype(np.float32)
        return Outputs(features, self.bundle.logits(features) if self.bundle.spec.classes else None)


def make_bundle(classes=(), **changes):
    backbone = Backbone(name="resnet18", features=QUARTERS, mean=(0, 0, 0), std=(1, 1, 1))
    spec = Spec(backbone=backbone, preprocess=Preprocess(imgsz=8), classes=classes)
    rng = np.random.default_rng(0)
    tensors = {"backbone.conv": rng.normal(size=(3, 2)).astype(np.float32)}
    if classes:
        tensors[HEAD_WEIGHT] = rng.normal(size=(len(classes), QUARTERS)).astype(np.float32)
        tensors[HEAD_BIAS] = rng.normal(size=len(classes)).astype(np.float32)
    return Bundle(spec.model_copy(update=changes), tensors)


@pytest.fixture
def bundle():
    return make_bundle(("cat", "dog", "eel"))


@pytest.fixture
def bare_bundle():
    return make_bundle()


@pytest.fixture
def engine(bundle):
    return QuarterEngine(bundle)


@pytest.fixture
def as_engine():
    return QuarterEngine


@pytest.fixture(scope="session")
def make_quarters():
    """Return ``make_quarters(classes)``: a bundle, and an engine that runs it."""

    def make(classes):
        bundle = make_bundle(classes)
        return bundle, QuarterEngine(bundle)

    return make


def use_quarters(monkeypatch):
    from ilk.inference import backbone as home

    backbone = make_bundle()
    engine = QuarterEngine(backbone)
    monkeypatch.setattr(home, "find_prepared", lambda *_: backbone)
    monkeypatch.setattr(home, "open_backbone", lambda *_: (backbone, engine))
    return engine


@pytest.fixture
def fake_backbone(monkeypatch):
    """Make `run_backbone` use the quarters; returns the engine, which counts its pictures."""
    return use_quarters(monkeypatch)


@pytest.fixture(scope="module")
def train_once(tmp_path_factory):
    """Return ``train_once(data)``: a run as with `fake_backbone`, which no test may change."""

    def train(data):
        place = tmp_path_factory.mktemp("once")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ILK_CACHE", str(place / "cache"))
            use_quarters(patch)
            draw_nothing(patch)
            return ilk.train(data, runs=place / "runs", imgsz=8, allow_leakage=True)

    return train


@pytest.fixture
def no_decoders():
    """Return ``no_decoders()``: whether the threads that decode end within a few seconds."""

    def threads():
        return [t for t in threading.enumerate() if t.name.startswith("ilk-decode")]

    def ended():
        end = time.monotonic() + 5
        while threads() and time.monotonic() < end:
            time.sleep(0.01)
        return not threads()

    return ended


def coloured(number, seed=0, classes=("blue", "green", "red")):
    """Return noisy pictures in the colour of their class, and their labels."""
    rng = np.random.default_rng(seed)
    labels = [classes[i % len(classes)] for i in range(number)]
    hues = {"red": 0, "green": 1, "blue": 2}
    pictures = rng.integers(0, 120, (number, 16, 16, 3)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[..., hues[label]] += 60
    return pictures, labels


@pytest.fixture(scope="session")
def colours():
    return coloured


@pytest.fixture
def catalog():
    return from_arrays(*coloured(60))


@pytest.fixture
def quick_plots(monkeypatch):
    """Spare each run a second of drawing; the plots have tests of their own."""
    draw_nothing(monkeypatch)


def draw_nothing(monkeypatch):
    from ilk.evaluation import plots

    def draw(_, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PNG")

    for name in ("draw_confusion", "draw_calibration"):
        monkeypatch.setattr(plots, name, lambda _: None)
    monkeypatch.setattr(plots, "save_figure", draw)
