from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from ilk.data.catalog import Catalog, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.inspection import near
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import connected, near_pairs
from ilk.data.named import digits


def photo(seed, size=(120, 90), detail=None):
    """Return an image with structure of every size, as a photo has; ``detail`` seeds the fine."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (2, 4, 8, 16, 32, 64):
        if cells == 16 and detail is not None:
            rng = np.random.default_rng(detail)
        noise = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        pixels += np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)) / cells
    low, high = np.quantile(pixels, (0.02, 0.98))
    pixels = (15 + (pixels - low) * 200 / (high - low)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(size[0] * size[1] // 180):  # edges, spread evenly
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        shade = tuple(int(v) + int(rng.integers(-60, 60)) for v in pixels[y, x])
        draw.ellipse((x, y, x + int(rng.integers(3, 9)), y + int(rng.integers(3, 9))), shade)
    return image


def jpeg(image, quality=85):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def inspected(*images):
    contents = [x if isinstance(x, bytes) else jpeg(x) for x in images]
    return inspect(Catalog(tuple(Picture(f"{i}", content=c) for i, c in enumerate(contents))))


def found(*images, **options):
    return [pair[:2] for pair in near_pairs(inspected(*images), **options)]


def turned(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=85, exif=exif)
    return buffer.getvalue()


WAYS = {
    "re-encoded": lambda image: jpeg(image, 40),
    "resized": lambda image: image.resize((72, 54)),
    "cropped at the left": lambda image: image.crop((6, 0, 120, 90)),
    "cropped all around": lambda image: image.crop((4, 3, 116, 87)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darkened": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "grey": lambda image: image.convert("L"),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: ImageOps.mirror(image).crop((0, 4, 115, 90)),
    "turned by its EXIF data": turned,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_among_other_pictures(way):
    others = [photo(seed) for seed in range(1, 20)]
    (pair,) = near_pairs(inspected(photo(0), *others, WAYS[way](photo(0))))
    assert pair[:2] == (0, 20)
    assert pair.mirrored == way.startswith("mirrored")
    assert near.DETAIL <= pair.likeness <= 1


def test_other_pictures_are_no_copies():
    assert found(*(photo(seed) for seed in range(40))) == []


def test_pictures_with_the_same_large_shapes_are_no_copies():
    same, other = photo(0), photo(0, detail=1)
    sketches = inspected(same, other).sketches
    assert sketches[0] @ sketches[1] > 0.95
    assert found(same, other) == []


def test_a_picture_is_not_its_own_mirror_image():
    half = photo(0, (60, 90))
    whole = Image.new("RGB", (120, 90))
    whole.paste(half, (0, 0))
    whole.paste(ImageOps.mirror(half), (60, 0))
    assert found(whole, photo(1)) == []


def test_every_two_of_several_copies_are_a_pair():
    copies = (photo(0), jpeg(photo(0), 50), photo(0).resize((100, 80)))
    assert found(*copies, photo(1)) == [(0, 1), (0, 2), (1, 2)]


def test_a_chain_of_copies_is_no_group():
    """Each is a near copy of the next, but the first and the last share little."""
    wide = photo(0, (360, 90))
    views = [wide.crop((x, 0, x + 120, 90)) for x in range(0, 110, 10)]
    pairs = found(*views)
    assert len(pairs) >= 4
    joined = connected(pairs)
    assert max(map(len, joined)) <= 5
    assert all(any({(min(c, r), max(c, r)) for r in group if r != c} <= set(pairs)
                   for c in group) for group in joined)  # fmt: skip


def test_the_comparisons_of_a_chain_grow_with_its_length_only(monkeypatch):
    compared = []
    confirm = near._Compared.confirm

    def counting(self, ends):
        compared.append(len(ends))
        return confirm(self, ends)

    monkeypatch.setattr(near._Compared, "confirm", counting)
    wide = photo(0, (920, 90))
    views = [wide.crop((x, 0, x + 120, 90)) for x in range(0, 800, 10)]
    numbers = []
    for length in (40, 80):
        compared.clear()
        assert found(*views[:length])
        numbers.append(sum(compared))
    assert numbers[1] < 2.2 * numbers[0], numbers


def garment(seed, size=240):
    """A thing of one shape before a plain ground; only its texture differs."""
    texture = photo(seed, (size, size)).convert("L").point(lambda v: 20 + v // 2)
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    corners = ((4, 1), (8, 1), (11, 4), (9, 5), (9, 11), (3, 11), (3, 5), (1, 4))
    draw.polygon([(x * size // 12, y * size // 12) for x, y in corners], 255)
    ground = Image.linear_gradient("L").resize((size, size)).point(lambda v: 200 + v // 5)
    return Image.composite(texture, ground, mask).convert("RGB")


def test_like_things_before_a_plain_ground_are_no_copies():
    garments = [garment(seed) for seed in range(6)]
    assert found(*garments) == []
    assert found(*garments, WAYS["mirrored"](garments[3])) == [(3, 6)]


def test_pictures_that_were_cleared_are_no_copies():
    image = photo(1)
    data = inspected(image, jpeg(image, 60), jpeg(image, 40))
    first, second, third = (p.absolute for p in data.catalog.pictures)
    assert len(near_pairs(data)) == 3
    assert near_pairs(data, cleared=[{first, second, third}]) == []
    assert [p[:2] for p in near_pairs(data, cleared=[{first, second}])] == [(0, 2), (1, 2)]


def test_of_exact_copies_one_stands_for_all():
    original = jpeg(photo(0))
    assert found(original, original, jpeg(photo(0), 40), original) == [(0, 2)]
    assert found(original, original) == []


def test_handwritten_digits_are_no_copies():
    assert near_pairs(inspect(digits())) == []


def letter(text, place, size=64):
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).text(place, text, fill="black", font_size=40)
    return image


def test_simple_pictures_are_no_copies():
    letters = [letter(text, (10 + i, 5 + i)) for i in range(6) for text in "ABC"]
    skies = [Image.linear_gradient("L").point(lambda v, k=k: v // 2 + k) for k in range(0, 60, 6)]
    blanks = [Image.new("RGB", (64, 64), (k, k, k)) for k in range(10)]
    assert found(*letters, *(sky.convert("RGB") for sky in skies), *blanks) == []


def test_pictures_of_a_few_pixels_are_no_copies():
    small = photo(0, (12, 12))
    assert found(small, ImageEnhance.Brightness(small).enhance(0.9)) == []


def test_names_and_order_do_not_matter():
    images = [photo(seed) for seed in range(8)] + [jpeg(photo(seed), 40) for seed in (2, 5)]
    inspection = inspected(*images)
    pictures = inspection.catalog.pictures
    other = inspect(Catalog(tuple(replace(p, path=f"x{p.path}") for p in reversed(pictures))))

    def by_content(inspection):
        digests = [p.digest for p in inspection.catalog.pictures]
        return {
            (frozenset((digests[pair.first], digests[pair.second])), pair.likeness)
            for pair in near_pairs(inspection)
        }

    assert by_content(inspection) == by_content(other)
    assert len(by_content(inspection)) == 2


def test_among_many_pictures_neighbours_are_found_by_an_index(monkeypatch):
    monkeypatch.setattr(near, "MANY", 100)
    images = [photo(seed, (40, 40)) for seed in range(120)]
    copies = [ImageOps.mirror(image) for image in images[:10]]
    assert found(*images, *copies) == [(i, 120 + i) for i in range(10)]


def test_a_file_that_is_gone_by_now_has_no_copies(tmp_path):
    for name, quality in (("a", 90), ("b", 40)):
        (tmp_path / name).write_bytes(jpeg(photo(0), quality))
    pictures = tuple(Picture(str(tmp_path / name)) for name in "ab")
    inspection = inspect(Catalog(pictures))
    assert len(near_pairs(inspection)) == 1
    (tmp_path / "b").unlink()
    assert near_pairs(inspection) == []


def test_pixels_in_memory_have_copies_too():
    image = photo(0)
    arrays = [np.asarray(x) for x in (image, photo(1), ImageOps.mirror(image))]
    assert [pair[:2] for pair in near_pairs(inspect(from_arrays(arrays)))] == [(0, 2)]


@pytest.mark.parametrize("number", [0, 1])
def test_where_there_is_nothing_to_compare_there_are_no_copies(number):
    assert found(*[photo(0)] * number) == []


def test_progress_is_told_of_every_candidate(telling):
    told = []
    near_pairs(inspected(photo(0), jpeg(photo(0), 40)), progress=telling(told))
    assert sum(told) == 1  # the pair that their sketches propose
