"""Where the time of bulk prediction goes: decoding, resizing, the engine; and eager PyTorch's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
import torch
from common import arguments, headline
from PIL import Image

from ilk.data.decode import decode
from ilk.engines import Options, open_backbone
from ilk.models.backbones import DEFAULT, describe
from ilk.models.weights import pretrained

options = arguments(__doc__, pictures=400, repeats=5)
headline("Where the time goes: cats_dogs, one picture, or eight at once in the engine")

preprocess = describe(DEFAULT).preprocess(None, "squash")
engine = open_backbone(DEFAULT, None, preprocess, Options())[1]
eager, _ = pretrained(DEFAULT)
files = sorted((options.data / "cats_dogs").glob("*/*.jpg"))[:: 2000 // options.pictures]
data = [d for d in (f.read_bytes() for f in files) if simplejpeg.is_jpeg(d)]
size = (preprocess.imgsz, preprocess.imgsz)


def jpeg(content: bytes) -> Any:
    """Decode as `ilk.data.decode` does, without the resize."""
    return simplejpeg.decode_jpeg(content)


images = [Image.fromarray(jpeg(d)) for d in data]
eights = [np.stack([decode(d, preprocess) for d in data[i : i + 8]]) for i in range(0, 160, 8)]
single = torch.zeros(1, 3, *size)


def run_eager(_: int) -> None:
    """Run one picture through the backbone, as the guide does."""
    with torch.no_grad():
        eager(single)


def milliseconds(function: Callable[[Any], Any], items: Any, pictures: int) -> list[float]:
    """Return the time for a picture, once for each repeat."""
    times = []
    for _ in range(options.repeats):
        began = time.perf_counter()
        for item in items:
            function(item)
        times.append(1e3 * (time.perf_counter() - began) / pictures)
    return times


rows = {
    "JPEG to pixels, one core": milliseconds(jpeg, data, len(data)),
    "resize to 224 px, bicubic, one core": milliseconds(
        lambda image: image.resize(size, Image.Resampling.BICUBIC), images, len(images)
    ),
    "`decode`, all in all, one core": milliseconds(
        lambda content: decode(content, preprocess), data, len(data)
    ),
    f"engine ({engine.name}), eight at once, all cores": milliseconds(engine.run, eights, 160),
    "eager PyTorch, one at a time, all cores": milliseconds(run_eager, range(40), 40),
}
print("| what | ms a picture | a second |\n|---|---|---|")
for name, times in rows.items():
    middle = statistics.median(times)
    print(f"| {name} | {middle:.2f} ({min(times):.2f} to {max(times):.2f}) | {1e3 / middle:,.0f} |")
print()
