"""What every test gets: a cache of its own, no network, and a way to make small pictures."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # torch is not to use all cores in each of the processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import itertools
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from colours import train_colours
from shared import once


def pytest_collection_modifyitems(items):
    """Leave out what is slow, unless it is asked for."""
    for item in items:
        if item.get_closest_marker("slow") and not os.environ.get("ILK_TEST_SLOW"):
            item.add_marker(pytest.mark.skip(reason="slow: set ILK_TEST_SLOW=1"))


@pytest.fixture(scope="session")
def colours_place():
    """A folder with tiny pictures, a run of them, and its cache; never to be changed."""
    return once("colours", train_colours)


@pytest.fixture(scope="session")
def warm_cache(colours_place, tmp_path_factory):
    """A cache in which the default backbone is ready to run."""
    return shutil.copytree(colours_place / "cache", tmp_path_factory.mktemp("warm") / "cache")


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Paths of folders for caches; to let pytest number thousands of them would take seconds."""
    place = tmp_path_factory.mktemp("caches")
    return (place / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def cache(caches, monkeypatch):
    """Keep each test's cache in its own folder, and hubs out of reach."""
    folder = next(caches)
    folder.mkdir()
    monkeypatch.setenv("ILK_CACHE", str(folder))
    monkeypatch.delenv("ILK_CACHE_GB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def _noise(seed=0, size=(24, 16), mode="RGB"):
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture
def noise():
    """Return ``noise(seed, size, mode)``: a PIL image that differs with the seed."""
    return _noise


@pytest.fixture
def encoded():
    """Return ``encoded(image, format, **options)``: the bytes of the file."""
    return _encoded


@pytest.fixture(scope="session")
def write_picture():
    """Return ``write_picture(path, seed)``: a small PNG, its folders made."""

    def write(path, seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encoded(_noise(seed, (5, 4)), "PNG"))
        return path

    return write


@pytest.fixture
def telling():
    """Return ``telling(told)``: a Progress that appends what it is told of to a list."""

    def make(told):
        @contextmanager
        def progress(what, total):
            yield told.append

        return progress

    return make
