"""Real weights and engines; the backbone is prepared once."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import ilk
from quick import blank_plots
from shared import once


@pytest.fixture(scope="session")
def shared_cache(warm_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILK_CACHE", str(warm_cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield warm_cache


@pytest.fixture(autouse=True)
def cache(shared_cache, monkeypatch):
    """Take the place of the fixture of the same name that gives each test its own cache."""
    monkeypatch.setenv("ILK_CACHE", str(shared_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    blank_plots(monkeypatch)
    return shared_cache


def some_digits():
    catalog = ilk.open_catalog("digits")
    chosen = []
    for label in catalog.classes:
        chosen += [p for p in catalog.pictures if p.label == label][:30]
    return [p.content for p in chosen], [p.label for p in chosen]


@pytest.fixture(scope="session")
def digits():
    """Some digits, as arrays and labels: 30 of each."""
    return some_digits()


@pytest.fixture(scope="session")
def run(colours_place, shared_cache):
    """A probe of the digits, whose features lie in the cache; never to be changed."""

    def train(place):
        cache = shutil.copytree(colours_place / "cache", place / "cache")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ILK_CACHE", str(cache))
            trained = ilk.train(some_digits(), runs=place / "runs")
        (place / "run.pickle").write_bytes(pickle.dumps(trained))

    place = once("digits", train)
    shutil.copytree(place / "cache", shared_cache, dirs_exist_ok=True)
    return pickle.loads((place / "run.pickle").read_bytes())


def photo(seed, size=(320, 240)):
    """Return a picture with the gradients, edges and noise of a photo."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    shades = np.stack([np.outer(*rng.random((2, 1)))[0] * x + rng.random() * y] * 3, axis=-1)
    image = Image.fromarray((255 * shades * rng.random(3)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        corner = rng.integers(0, size[1], 2)
        box = [*corner.tolist(), *(corner + rng.integers(10, 120, 2)).tolist()]
        colour = tuple(rng.integers(0, 256, 3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1))).astype(float)
    noisy = pixels + rng.normal(scale=8, size=pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photos():
    return [photo(seed) for seed in range(12)]
