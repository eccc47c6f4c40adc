"""One bad item never loses the others, whatever its kind."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ilk.inference.classifier import Classifier

PIXELS = np.full((8, 8, 3), 90, np.uint8)


def png():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file


def closed(file):
    file.close()
    return file


def cut(kind="PNG"):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, kind)
    return Image.open(io.BytesIO(file.getvalue()[:-600]))


def closed_image():
    image = Image.open(png())
    image.close()
    return image


class Unhelpful:
    """Fails whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError("no")


class Reader:
    def read(self):
        raise OSError("the line is dead")


GOOD = {
    "array": lambda: PIXELS,
    "grey": lambda: PIXELS[:, :, 0],
    "bytes": lambda: png().getvalue(),
    "file": png,  # at its end
    "image": lambda: Image.fromarray(PIXELS),
    "tensor": lambda: torch.tensor(PIXELS).permute(2, 0, 1),
}
BAD = {
    "none": lambda: None,
    "number": lambda: 3,
    "nan": lambda: float("nan"),
    "a dict": lambda: {"path": "a.png"},
    "a list": lambda: [PIXELS],
    "too long a name": lambda: "x" * 5000 + ".png",
    "NUL in a name": lambda: "a\0b.png",
    "a lone surrogate": lambda: "\ud800.png",
    "an empty name": lambda: "",
    "a missing file": lambda: "missing.png",
    "a directory without pictures": lambda: os.devnull + "/..",
    "a device": lambda: os.devnull,
    "no bytes": lambda: b"",
    "a text": lambda: io.StringIO("x"),
    "garbage": lambda: b"garbage",
    "a closed file": lambda: closed(io.BytesIO(b"x")),
    "a file that fails": Reader,
    "a cut image": cut,
    "a cut JPEG": lambda: cut("JPEG"),
    "a closed image": closed_image,
    "floats": lambda: PIXELS.astype(np.float32) * np.nan,
    "another shape": lambda: np.zeros((2, 3, 4, 5), np.uint8),
    "no pixels": lambda: np.zeros((0, 8, 3), np.uint8),
    "objects": lambda: np.array([None]),
    "a float tensor": lambda: torch.zeros(3, 8, 8),
    "an object that fails": Unhelpful,
    "a type": lambda: int,
    "an exception": lambda: ValueError("x"),
}


@pytest.fixture(scope="module")
def classifier(make_quarters):
    bundle, engine = make_quarters(("cat", "dog", "eel"))
    return Classifier(bundle.spec, engine)


def check_rows(found, kinds):
    assert len(found) == len(kinds)
    for row, kind in zip(found, kinds, strict=True):
        assert (row.label is None) == (kind in BAD) == (row.error is not None), (kind, row)
        if row.error:
            assert row.error
            assert row.error.isprintable()
            assert not row.error.startswith("Picture"), row.error


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_item_is_a_row_with_its_reason(classifier, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if kind == "a directory without pictures":
        found = classifier.predict([PIXELS, tmp_path, PIXELS])
    else:
        found = classifier.predict([PIXELS, BAD[kind](), PIXELS])
    check_rows(found, ["array", kind, "array"])


MIXTURES = sorted({*GOOD, *BAD} - {"a directory without pictures"})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(MIXTURES), min_size=2, max_size=12), st.sampled_from([1, 3, 32]))
def test_mixtures(classifier, kinds, batch):
    items = [(GOOD | BAD)[kind]() for kind in kinds]
    check_rows(classifier.predict(iter(items), batch=batch), kinds)


def test_an_iterable_that_fails_keeps_what_it_gave(classifier):
    def items():
        yield PIXELS
        yield PIXELS
        raise KeyError("gone")

    found = classifier.predict(items())
    check_rows(found, ["array", "array", "none"])
    assert found[2].error == "could not be produced: KeyError: 'gone'"
    assert found[2].path == "picture 2"


def test_an_image_may_be_given_twice(classifier):
    image = Image.open(png())
    check_rows(classifier.predict([image] * 8, batch=1, workers=4), ["image"] * 8)


def test_bad_items_keep_their_names(classifier, tmp_path):
    with (tmp_path / "a.png").open("wb") as file:  # not to be read
        found = classifier.predict(["missing.png", file, None])
    assert [row.path for row in found] == ["missing.png", str(tmp_path / "a.png"), "picture 2"]
