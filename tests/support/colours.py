"""Tiny pictures of three colours, and a model of them that is trained as on a new machine."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from commands import run_apart

COLOURS = {"blue": (20, 40, 200), "green": (20, 180, 40), "red": (210, 30, 20)}
OFFLINE = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def write_picture(file: Path, colour: Sequence[int], size: int = 24) -> None:
    """Write one noisy picture of a colour; the noise depends on the file's name alone."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(file.name)))
    pixels = np.clip(np.array(colour) + rng.normal(0, 25, (size, size, 3)), 0, 255)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        name = "JPEG" if file.suffix == ".jpg" else "PNG"
        Image.fromarray(pixels.astype(np.uint8)).save(out, name)


def write_pictures(root: Path, number: int, classes: Sequence[str] = ("blue", "red")) -> Path:
    """Write ``number`` pictures a class, every other a JPEG."""
    for label in classes:
        for i in range(number):
            ending = "jpg" if i % 2 else "png"
            write_picture(root / label / f"{label}{i:02d}.{ending}", COLOURS[label])
    return root


def train_colours(place: Path) -> None:
    """Write pictures, train on them, and keep the cache and what the command said."""
    pictures = write_pictures(place / "colours", 8, tuple(COLOURS))
    (place / "cache").mkdir()
    words = ["train", str(pictures), "--runs", str(place / "runs"), "--name", "colours"]
    done = run_apart(words, place, b"", {**OFFLINE, "ILK_CACHE": str(place / "cache")})
    assert done.returncode == 0, done.stderr
    (place / "said.json").write_text(json.dumps([done.stdout, done.stderr]))
