"""Real weights and engines; the backbone is prepared once a session."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import ilk


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILK_CACHE", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture(autouse=True)
def cache(shared_cache, monkeypatch):
    """Take the place of the fixture of the same name that gives each test its own cache."""
    monkeypatch.setenv("ILK_CACHE", str(shared_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return shared_cache


@pytest.fixture(scope="session")
def digits():
    """Some digits, as arrays and labels: 30 of each."""
    catalog = ilk.open_catalog("digits")
    chosen = []
    for label in catalog.classes:
        chosen += [p for p in catalog.pictures if p.label == label][:30]
    return [p.content for p in chosen], [p.label for p in chosen]


@pytest.fixture(scope="session")
def run(digits, shared_cache, tmp_path_factory):
    assert shared_cache
    return ilk.train(digits, runs=tmp_path_factory.mktemp("runs"))


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
