"""Claim: a picture gets one answer, however it is handed over; what that costs.

Each set's pictures go by path, as bytes, PIL image and array, to a server, and by the lines of
Pillow in docs/export.md into its ONNX export. The old decoder (fast DCT, fast upsampling, scaled by
the DCT) is timed against this one in the same run, in turns.
"""

from __future__ import annotations

import io
import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import simplejpeg
from common import arguments, headline, scratch, spread
from PIL import Image, ImageOps

import ilk
from ilk.data.decode import decode
from ilk.exporting.plain_pillow import by_pillow

BICUBIC = Image.Resampling.BICUBIC
BLOCKS = 8
SETS = ("cats_dogs", "ants_bees", "clothing", "cifar10")
options = arguments(__doc__, pictures=500, large=20, repeats=5, agreement=1)
headline("One answer: each way against the path", "onnxruntime")


def files_of(name: str, number: int, seed: int = 0) -> list[Path]:
    """Draw pictures of a set."""
    found = sorted((options.data / name).rglob("*.jpg"))
    drawn = np.random.default_rng(seed).permutation(len(found))[:number]
    return [found[i] for i in drawn]


def old_decode(data: bytes, preprocess: Any, *_: Any) -> Any:
    """Decode as ilk did before: the peer."""
    side = preprocess.imgsz
    try:
        pixels = simplejpeg.decode_jpeg(
            data, fastdct=True, fastupsample=True, min_height=side, min_width=side
        )
    except ValueError:
        return decode(data, preprocess)
    return np.asarray(Image.fromarray(pixels).resize((side, side), BICUBIC))


def upright(path: Path) -> Image.Image:
    """Return what a caller has who uses Pillow."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def large(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Write photos of 12 megapixels: enlarged ones, and mosaics, which have detail throughout."""
    made = []
    for i, path in enumerate(paths):
        image = upright(path)
        size = (4000, 3000) if image.width >= image.height else (3000, 4000)
        whole = image.resize(size, Image.Resampling.LANCZOS)
        if i % 2:
            for x in range(0, size[0], image.width):
                for y in range(0, size[1], image.height):
                    whole.paste(image, (x, y))
        made.append(folder / f"{i}.jpg")
        whole.save(made[-1], quality=88)
    return made


@contextmanager
def serving(model: Path) -> Iterator[Callable[[bytes], tuple[str, float]]]:
    """Give a function that asks a server."""
    ready, stop, url = threading.Event(), threading.Event(), []

    def on_ready(where: str, _: list[str]) -> None:
        url.append(where)
        ready.set()

    thread = threading.Thread(
        target=ilk.serve, args=([model],), kwargs={"port": 0, "on_ready": on_ready, "stop": stop}
    )
    thread.start()
    ready.wait(60)

    def ask(data: bytes) -> tuple[str, float]:
        with urllib.request.urlopen(f"{url[0]}/predict", data) as answer:
            found = json.load(answer)["predictions"][0]
        return found["label"], found["probability"]

    yield ask
    stop.set()
    thread.join()


def row(name: str, way: str, labels: Any, probabilities: Any, expected: Any) -> None:
    """Print how far a way is from the path."""
    same = int((np.array(labels) == np.array(expected.labels)).sum())
    gap = np.abs(np.asarray(probabilities) - expected.probabilities.max(axis=1)).max()
    print(f"| {name} | {way} | {same} of {len(labels)} | {gap:.1g} |", flush=True)


def compare(name: str, model: Path, onnx: Path, paths: list[Path]) -> None:
    """Hand pictures over in each way."""
    classifier = ilk.load(model)
    preprocess = classifier.spec.preprocess
    expected = classifier.predict(paths)
    images = [upright(path) for path in paths]
    ways = {
        "bytes": [path.read_bytes() for path in paths],
        "PIL images": images,
        "arrays": [np.asarray(image) for image in images],
    }
    for way, given in ways.items():
        found = classifier.predict(given)
        row(name, way, found.labels, found.probabilities.max(axis=1), expected)
    with serving(model) as ask:
        told = [ask(path.read_bytes()) for path in paths]
    names, values = zip(*told, strict=True)
    row(name, "server", names, values, expected)
    sides = {
        "ONNX, by Pillow": by_pillow,
        "half scale by the DCT, where 4 times the input is left": scaled,
        "a tenth of the values off by one": shaken,
        "before: by path": old_decode,
    }
    for way, by in sides.items():
        pixels = np.stack([by(path.read_bytes(), preprocess) for path in paths])
        found = onnx_outputs(onnx, pixels) if "ONNX" in way else outputs(classifier, pixels)
        labels = [classifier.spec.classes[i] for i in found.argmax(axis=1)]
        row(name, way, labels, found.max(axis=1), expected)


def scaled(data: bytes, preprocess: Any) -> Any:
    """Decode exactly, but by half the DCT if four times the input's size is left."""
    side = preprocess.imgsz
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if min(width, height) < 8 * side:
            return decode(data, preprocess)
        image.draft(None, (width // 2, height // 2))
        box = (0, 0, width / 2, height / 2)
        return np.asarray(image.convert("RGB").resize((side, side), BICUBIC, box))


def shaken(data: bytes, preprocess: Any) -> Any:
    """Add or subtract one from a tenth of the values."""
    pixels = decode(data, preprocess).astype(int)
    rng = np.random.default_rng(len(data))
    change = rng.choice([-1, 1], pixels.shape) * (rng.random(pixels.shape) < 0.1)
    return (pixels + change).clip(0, 255).astype(np.uint8)


def outputs(classifier: Any, pixels: Any) -> Any:
    """Return the probabilities of pixels, in batches."""
    parts = range(0, len(pixels), 32)
    return np.concatenate(
        [classifier.predict_batch(pixels[i : i + 32]).probabilities for i in parts]
    )


def onnx_outputs(path: Path, pixels: Any) -> Any:
    """Return them by plain ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    parts = range(0, len(pixels), 32)
    return np.concatenate([session.run(None, {"pixels": pixels[i : i + 32]})[0] for i in parts])


def speeds(name: str, model: Path, paths: list[Path]) -> None:
    """Time both decoders in turns: alone on one core, and pictures a second end to end."""
    classifier = ilk.load(model)
    preprocess = classifier.spec.preprocess
    data = [path.read_bytes() for path in paths]
    alone: dict[str, list[float]] = {"before": [], "now": []}
    whole: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(options.repeats):
        for side, by in (("before", old_decode), ("now", decode)):
            Image.core.set_blocks_max(BLOCKS if side == "now" else 0)  # as the command line does
            began = time.process_time()
            for content in data:
                by(content, preprocess)
            alone[side].append(1e3 * (time.process_time() - began) / len(data))
            with mock.patch("ilk.data.stream.decode", by):
                began = time.perf_counter()
                classifier.predict(paths)
                whole[side].append(len(paths) / (time.perf_counter() - began))
    change = statistics.median(whole["now"]) / statistics.median(whole["before"]) - 1
    for side, times in alone.items():
        extra = f"{100 * change:+.0f} %" if side == "now" else ""
        print(f"| {name} | {side} | {spread(times)} | {spread(whole[side], '', 0)} | {extra} |")


def resizes(paths: list[Path]) -> None:
    """Compare resizes with Pillow's, on one thread; those of packages that are installed."""
    import torch

    torch.set_num_threads(1)
    size = (224, 224)
    images = [np.asarray(upright(path)) for path in paths]

    def by_torch(image: Any) -> Any:
        found = torch.nn.functional.interpolate(
            torch.from_numpy(image.copy()).permute(2, 0, 1)[None],
            size,
            mode="bicubic",
            antialias=True,
        )
        return found[0].permute(1, 2, 0).numpy()

    ways: dict[str, Callable[[Any], Any]] = {
        "Pillow": lambda image: np.asarray(Image.fromarray(image).resize(size)),
        "torch, antialias": by_torch,
    }
    try:
        import kornia_rs

        ways["kornia-rs, antialias"] = lambda image: kornia_rs.resize(image, size, "bicubic", True)
    except ImportError:
        pass
    try:
        import cv2

        cv2.setNumThreads(1)
        ways["OpenCV, INTER_CUBIC"] = lambda i: cv2.resize(i, size, interpolation=cv2.INTER_CUBIC)
        ways["OpenCV, INTER_AREA"] = lambda i: cv2.resize(i, size, interpolation=cv2.INTER_AREA)
    except ImportError:
        pass
    expected = [ways["Pillow"](image).astype(int) for image in images]
    print("\n| resize to 224 px | ms a picture | values that differ from Pillow's | by up to |")
    print("|---|---|---|---|")
    for name, way in ways.items():
        times = []
        for _ in range(options.repeats):
            began = time.process_time()
            found = [way(image) for image in images]
            times.append(1e3 * (time.process_time() - began) / len(images))
        gaps = [np.abs(a - b) for a, b in zip(found, expected, strict=True)]
        share = 100 * np.mean([(gap > 0).mean() for gap in gaps])
        print(f"| {name} | {spread(times)} | {share:.1f} % | {max(gap.max() for gap in gaps)} |")


with scratch() as folder:
    models, samples = {}, {}
    for name in SETS:
        data = options.data / name
        if name == "cifar10":
            data = folder / "cifar10.csv"  # small pictures: some of them will do
            chosen = files_of(name, 1500, seed=1)
            rows = [f"{path},{path.parent.name}" for path in chosen]
            data.write_text("\n".join(["path,label", *rows]))
        run = ilk.train(data, runs=folder, name=name)
        models[name] = run.folder / "model.safetensors"
        if options.agreement:
            ilk.export(run.folder, "onnx", output=folder / f"{name}.onnx")
        samples[name] = files_of(name, options.pictures)
    photos = large(folder, [path for name in SETS[:3] for path in files_of(name, options.large)])
    if options.agreement:
        print("| pictures | way | same label as by path | largest difference of its probability |")
        print("|---|---|---|---|")
        for name in SETS:
            compare(name, models[name], folder / f"{name}.onnx", samples[name])
        compare("12 megapixels", models["clothing"], folder / "clothing.onnx", photos)
    print("\n| pictures | decoder | decoding, ms of one core | end to end, pictures/s | change |")
    print("|---|---|---|---|---|")
    for name in SETS:
        speeds(name, models[name], samples[name])
    speeds("12 megapixels", models["clothing"], photos)
    resizes([path for name in SETS[:3] for path in samples[name][:50]])
    print()
