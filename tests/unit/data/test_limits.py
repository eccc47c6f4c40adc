from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from ilk.data import limits
from ilk.data.catalog import Catalog, Picture
from ilk.data.decode import decode, reduced, size_of, thumbnail
from ilk.data.inspection.inspect import inspect
from ilk.data.limits import Threads, pixel_limit
from ilk.errors import DecodeError, UsageError
from ilk.spec import Preprocess

SMALL = Preprocess(imgsz=16)
PIXELS = 200 * 100


@pytest.fixture
def small_limit(monkeypatch):
    """Make Pillow's usual limit half of the pictures' pixels."""
    monkeypatch.setattr(limits, "USUAL", PIXELS // 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PIXELS // 2)


def picture(size=(200, 100)):
    return Image.linear_gradient("L").resize(size).convert("RGB")


def stored(name="JPEG", size=(200, 100), **options):
    buffer = io.BytesIO()
    picture(size).save(buffer, name, **options)
    return buffer.getvalue()


def test_a_jpeg_may_have_three_times_as_many_pixels_as_it_is_scaled_down(small_limit):
    data = stored(quality=95)
    expected = decode(np.asarray(picture()), SMALL).astype(int)
    assert np.abs(decode(data, SMALL) - expected).max() <= 8
    assert size_of(data) == (200, 100)
    assert max(thumbnail(data, 20).size) == 20
    assert reduced(data, 20).shape == (20, 20, 3)
    assert len(inspect(Catalog((Picture("a", content=data),))).facts) == 1


def test_a_huge_jpeg_is_turned_upright_too(small_limit):
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = decode(stored(exif=exif), SMALL).astype(int)
    assert np.abs(turned - decode(stored(), SMALL)[::-1, ::-1]).max() <= 8


@pytest.mark.parametrize(
    "data",
    [stored("PNG"), stored("BMP"), stored("JPEG", progressive=True), stored("JPEG", (400, 100))],
)  # fmt: skip
def test_other_pictures_above_the_limit_are_refused_naming_the_flag(small_limit, data):
    with pytest.raises(DecodeError, match="--max-pixels") as caught:
        decode(data, SMALL)
    assert caught.value.kind == "file.bomb"


def test_a_limit_that_is_set_holds_for_every_format_and_ends_with_the_block(small_limit):
    before = Image.MAX_IMAGE_PIXELS
    with pixel_limit(PIXELS):
        for name in ("PNG", "JPEG"):
            assert decode(stored(name), SMALL).shape == (16, 16, 3)
    with pixel_limit(PIXELS - 1), pytest.raises(DecodeError, match="--max-pixels"):
        decode(stored("JPEG"), SMALL)
    assert before == Image.MAX_IMAGE_PIXELS


def test_limits_of_threads_are_apart_and_leave_pillow_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    data = stored("PNG")
    entered, left = threading.Event(), threading.Event()

    def other():
        with pixel_limit(10):
            entered.set()
            left.wait(10)
            with pytest.raises(DecodeError, match="--max-pixels"):
                decode(data, SMALL)

    with Threads(1) as pool:
        task = pool.submit(other)
        entered.wait(10)
        assert decode(data, SMALL).shape == (16, 16, 3)  # no limit is set here
        with pixel_limit(10**9):
            left.set()
            task.result()
            assert limits.most_pixels() == 10**9
            assert pool.submit(limits.most_pixels).result() == 10**9
            assert decode(data, SMALL).shape == (16, 16, 3)
        assert pool.submit(limits.most_pixels).result() == before
    assert before == Image.MAX_IMAGE_PIXELS


def test_no_limit_given_leaves_it_as_it_is(small_limit):
    with pixel_limit(None):
        assert PIXELS // 2 == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("pixels", [0, -5])
def test_a_limit_below_one_is_refused(pixels):
    with pytest.raises(UsageError, match="--max-pixels"), pixel_limit(pixels):
        pass


def test_the_usual_limit_is_pillows():
    assert limits.USUAL == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_huge_jpeg_that_is_truncated_never_raises_anything_but_a_decode_error(small_limit, share):
    data = stored()
    try:
        assert decode(data[: int(share * len(data))], SMALL).shape == (16, 16, 3)
    except DecodeError as error:
        assert error.kind in {"file.truncated", "file.unreadable", "file.bomb"}
