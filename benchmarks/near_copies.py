"""Claim: near copies are found, and pictures that were never copied are let alone.

Copies of a sample are planted among all pictures of a set. The thresholds of
`ilk.data.inspection.near` were chosen on ants_bees, CIFAR-10, and clothing shrunk to 120 pixels and
blurred; cats_dogs was only looked at. Pairs among untouched pictures are listed, to be looked at.
Simple pictures (digits, letters, shapes) have no copies among them. CIFAR-10's own near copies are
counted as it was published.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from common import arguments, headline
from PIL import Image, ImageDraw
from planted import WAYS, changed

from ilk.data.catalog import Catalog, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.inspection.copies import spanning, with_copies
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import near_pairs
from ilk.data.named import digits

Pairs = list[tuple[str, str]]


def planted(folder: Path, number: int, seed: int, among: int | None = None) -> tuple[str, Pairs]:
    """Plant copies of a sample among a set's pictures.

    Returns
    -------
    str, list of (str, str)
        How many are found, as a row; and the pairs among untouched pictures.
    """
    draw = random.Random(seed)
    files = sorted(folder.rglob("*.jpg"))
    files = files if among is None else draw.sample(files, among)
    chosen = draw.sample(files, min(number, len(files)))
    ways = [WAYS[i % len(WAYS)] for i in range(len(chosen))]
    pictures = [Picture(str(file)) for file in files]
    copies = {}
    for i, (file, way) in enumerate(zip(chosen, ways, strict=True)):
        with contextlib.suppress(OSError):  # a broken picture has no copy
            copies[f"copy {i}"] = (str(file), way, changed(file.read_bytes(), way, draw))
    pictures += [Picture(name, content=content) for name, (*_, content) in copies.items()]
    inspection = inspect(Catalog(tuple(pictures)))
    began = time.perf_counter()
    pairs = near_pairs(inspection)
    seconds = time.perf_counter() - began
    paths = [p.path for p in inspection.catalog.pictures]
    found = {(paths[a], paths[b]) for a, b, *_ in pairs}
    hits = Counter(w.__name__ for name, (path, w, _) in copies.items() if (path, name) in found)
    asked = Counter(way.__name__ for _, way, _ in copies.values())
    untouched = [pair for pair in sorted(found) if not copies.keys() & set(pair)]
    shares = [f"{hits[way.__name__] / asked[way.__name__]:.1%}" for way in WAYS]
    every = f"**{hits.total() / asked.total():.1%}** | {len(untouched)} | {seconds:.1f} s"
    row = f"| {folder.name}, {len(files):,} | {asked.total():,} | {' | '.join(shares)} | {every} |"
    return row, untouched


def letters(number: int = 600) -> Catalog:
    """Return letters, in black on white, at places that differ a little."""
    draw = random.Random(0)
    images = []
    for _ in range(number):
        image = Image.new("RGB", (64, 64), "white")
        place = (draw.randint(10, 20), draw.randint(0, 12))
        ImageDraw.Draw(image).text(place, draw.choice("ABCDEFGHIJ"), "black", font_size=40)
        images.append(np.asarray(image))
    return from_arrays(images, name="letters")


def shapes(number: int = 600) -> Catalog:
    """Return a circle or square each, before a plain ground."""
    rng = np.random.default_rng(0)
    images = []
    for i in range(number):
        ground, colour = (tuple(map(int, rng.integers(0, 256, 3))) for _ in range(2))
        image = Image.new("RGB", (64, 64), ground)
        x, y, r = (int(v) for v in rng.integers((15, 15, 8), (48, 48, 20)))
        draw = ImageDraw.Draw(image)
        (draw.ellipse if i % 2 else draw.rectangle)((x - r, y - r, x + r, y + r), colour)
        images.append(np.asarray(image))
    return from_arrays(images, name="shapes")


def enlarged() -> Catalog:
    """Return the digits, 28 pixels wide."""
    images = [
        np.asarray(Image.fromarray(p.content).resize((28, 28), Image.Resampling.LANCZOS))
        for p in digits().pictures
    ]
    return from_arrays(images, name="digits of 28 pixels")


def main() -> None:
    options = arguments(__doc__ or "", seeds=3)
    headline("Near copies")
    print(
        f"| data | copies | {' | '.join(way.__name__ for way in WAYS)} | all | other pairs | time |"
    )
    print("|---" * (len(WAYS) + 5) + "|")
    others: set[tuple[str, str]] = set()
    for seed in range(options.seeds):
        for name, number, among in (("ants_bees", 390, None), ("cats_dogs", 400, None),
                                    ("clothing", 400, None), ("cifar10", 2000, 2000)):  # fmt: skip
            row, pairs = planted(options.data / name, number, seed, among)
            print(row, flush=True)
            others |= set(pairs) if name != "cifar10" else set()
    print("\nPairs among untouched photos:\n")
    for pair in sorted(others):
        print("- " + ", ".join(str(Path(path).relative_to(options.data)) for path in pair))
    print("\n| simple pictures | number | taken for copies |\n|---|---|---|")
    for catalog in (digits(), enlarged(), letters(), shapes()):
        rows = {row for pair in near_pairs(inspect(catalog)) for row in pair[:2]}
        print(f"| {catalog.source} | {len(catalog):,} | {len(rows)} |")
    root = options.data / "cifar10"
    files = [
        Picture(str(file), file.parent.name, split)
        for split in ("train", "test")
        for file in sorted((root / split).rglob("*.jpg"))
    ]
    inspection = inspect(Catalog(tuple(files)))
    began = time.perf_counter()
    found = spanning(with_copies(inspection.catalog, near_pairs(inspection)))
    seconds = time.perf_counter() - began
    test = sum(p.split == "test" for group in found for p in group)
    print(
        f"\nCIFAR-10: {test} of its test pictures are near copies of training pictures "
        f"(ciFAIR counts 3.3 %, by eye); looked for in {seconds:.0f} s.\n"
    )


if __name__ == "__main__":
    main()
