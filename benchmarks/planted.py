"""Claim: `ilk check` finds the faults that are planted in cats_dogs, and cries wolf rarely.

The pictures are dealt out to train and test, and then spoiled, by a seed: exact and near copies,
broken files, blank pictures, and wrong labels. What a finding names is compared with what was done.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import arguments, headline, ilk, scratch
from PIL import Image, ImageEnhance, ImageOps

EXACT, NEAR, TRUNCATED, EMPTY, TEXT, BLANK, WRONG = 20, 40, 10, 5, 5, 10, 0.05
TOP = 0.10


@dataclass
class Planted:
    """What was done: copies as (original, copy), and files by the kind of their fault."""

    exact: list[tuple[str, str]] = field(default_factory=list)
    near: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def touched(self) -> set[str]:
        """Return all files that have to do with a planted fault."""
        pairs = [*self.exact, *(pair for pairs in self.near.values() for pair in pairs)]
        spoiled = [path for paths in self.files.values() for path in paths]
        return {*self.wrong, *spoiled, *(path for pair in pairs for path in pair)}


def reencoded(image: Image.Image, draw: random.Random) -> Image.Image:
    """Change nothing: what follows is a lower quality."""
    return image


def resized(image: Image.Image, draw: random.Random) -> Image.Image:
    """Shrink to 60 %."""
    return image.resize((max(1, image.width * 6 // 10), max(1, image.height * 6 // 10)))


def cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    """Cut 5 % of each side away, somewhere."""
    width, height = round(0.95 * image.width), round(0.95 * image.height)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def brightened(image: Image.Image, draw: random.Random) -> Image.Image:
    """Make it brighter by 30 %."""
    return ImageEnhance.Brightness(image).enhance(1.3)


def mirrored(image: Image.Image, draw: random.Random) -> Image.Image:
    """Swap left and right."""
    return ImageOps.mirror(image)


WAYS = (reencoded, resized, cropped, brightened, mirrored)


def plant(source: Path, root: Path, seed: int) -> Planted:
    """Copy cats_dogs to a folder, dealt out to train and test, and spoil it."""
    draw = random.Random(seed)
    files = []
    for path in sorted(source.glob("*/*")):
        split = "test" if draw.random() < 0.25 else "train"
        place = root / split / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        files.append(place)
    draw.shuffle(files)
    planted = Planted()
    train = (file for file in files if file.parts[-3] == "train")
    for number in range(EXACT):
        planted.exact.append(copied(next(train), number, lambda data: data))
    for number in range(NEAR):
        way = WAYS[number % len(WAYS)]
        split = "test" if number < NEAR // 2 else "train"
        pair = copied(next(train), EXACT + number, lambda data, way=way: changed(data, way, draw),
                      split)  # fmt: skip
        planted.near.setdefault(way.__name__, []).append(pair)
    used = planted.touched
    rest = (file for file in files if str(file) not in used)
    for kind, number, spoil in (
        ("file.truncated", TRUNCATED, lambda d: d[: round(draw.uniform(0.3, 0.9) * len(d))]),
        ("file.empty", EMPTY, lambda _: b""),
        ("file.not_a_picture", TEXT, lambda _: b"There was a picture here.\n" * 40),
        ("picture.blank", BLANK, lambda _: blank(draw)),
    ):
        for _ in range(number):
            file = next(rest)
            file.write_bytes(spoil(file.read_bytes()))
            planted.files.setdefault(kind, []).append(str(file))
    for _ in range(round(WRONG * len(files))):
        file = next(rest)
        other = "dogs" if file.parent.name == "cats" else "cats"
        place = file.parent.parent / other / f"moved-{file.name}"
        file.rename(place)
        planted.wrong.append(str(place))
    return planted


def copied(file: Path, number: int, change, split: str = "test") -> tuple[str, str]:
    """Write a changed copy under another name into a split."""
    place = file.parents[2] / split / file.parent.name / f"planted-{number:03d}.jpg"
    place.write_bytes(change(file.read_bytes()))
    return str(file), str(place)


def changed(data: bytes, way, draw: random.Random) -> bytes:
    """Return a picture changed in some way, as a JPEG."""
    buffer = io.BytesIO()
    image = way(Image.open(io.BytesIO(data)).convert("RGB"), draw)
    image.save(buffer, "JPEG", quality=60 if way is reencoded else 85)
    return buffer.getvalue()


def blank(draw: random.Random) -> bytes:
    """Return a picture of one colour, with a little noise."""
    rng = np.random.default_rng(draw.randrange(2**32))
    pixels = rng.integers(0, 256, 3) + rng.normal(0, 1, (300, 400, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main() -> None:
    options = arguments(__doc__ or "", seeds=3)
    headline("Faults planted in cats_dogs")
    print("| seed | what was planted | number | found | |\n|---|---|---|---|---|")
    alarms, seconds, untouched = Counter(), [], 0
    for seed in range(options.seeds):
        with scratch() as folder:
            planted = plant(options.data / "cats_dogs", folder / "data", seed)
            done = ilk(
                "check", str(folder / "data"), "--json", "--out", str(folder / "report"),
                cache=folder / "cache",
            )  # fmt: skip
        seconds.append(done.seconds)
        found = json.loads(done.stdout)
        for row in rows(planted, found["findings"], found["n"]):
            print(f"| {seed} | {row} |")
        alarms += false_alarms(planted, found["findings"])
        untouched += found["n"] - len(planted.touched)
    print(f"\nSeconds, cold: {', '.join(f'{s:.1f}' for s in seconds)}.\n")
    print(f"Findings that name no touched file, of {untouched:,} untouched ones in all seeds:\n")
    print("| kind | files | share |\n|---|---|---|")
    for kind, number in sorted(alarms.items()):
        print(f"| {kind} | {number:,} | {100 * number / untouched:.2f} % |")
    print("\nSome of these are real: the data has flaws of its own.\n")


def rows(planted: Planted, findings: list[dict], total: int) -> list[str]:
    """Compare what was found with what was done."""
    groups = [
        (f["kind"], set(f["paths"]))
        for f in findings
        if f["kind"].split(".")[0] in {"duplicate", "leakage"} or f["kind"] == "label.conflict"
    ]

    def together(pair, kinds) -> bool:
        return any(kind in kinds and set(pair) <= paths for kind, paths in groups)

    exact = sum(together(pair, {"leakage.exact"}) for pair in planted.exact)
    lines = [told("exact copies across splits", exact, len(planted.exact), 1)]
    near = {way: [together(pair, {"duplicate.near", "leakage.near"}) for pair in pairs]
            for way, pairs in planted.near.items()}  # fmt: skip
    lines += [told(f"near copies, {way}", sum(hits), len(hits)) for way, hits in near.items()]
    everything = [hit for hits in near.values() for hit in hits]
    lines.append(told("near copies, all", sum(everything), len(everything), 0.95))
    for kind, paths in planted.files.items():
        fit = {kind, "file.incomplete"} if kind == "file.truncated" else {kind}
        named = {path for f in findings if f["kind"] in fit for path in f["paths"]}
        lines.append(told(kind, len(named & set(paths)), len(paths), 1))
    ranked = [f["paths"][0] for f in findings if f["kind"] == "label.suspect"]
    top = set(ranked[: round(TOP * total)]) & set(planted.wrong)
    lines.append(told(f"wrong labels, in the first {TOP:.0%}", len(top), len(planted.wrong), 0.9))
    near_copies = {pair[1] for pairs in planted.near.values() for pair in pairs}
    wrongly = {path for kind, paths in groups
               if kind.endswith(".near") and not paths & near_copies
               for path in paths - planted.touched}  # fmt: skip
    untouched = total - len(planted.touched)
    verdict = "met" if len(wrongly) <= 0.01 * untouched else "**missed** (target: 1%)"
    lines.append(
        f"untouched pictures flagged as near copies | {untouched:,} | {len(wrongly)} "
        f"({len(wrongly) / untouched:.2%}) | {verdict}"
    )
    lines.append(f"label.suspect findings in all | | {len(ranked)} | ")
    return lines


def told(what: str, found: int, number: int, target: float | None = None) -> str:
    """Return the row of one kind of fault."""
    verdict = ""
    if target is not None:
        verdict = "met" if found >= target * number else f"**missed** (target: {target:.0%})"
    return f"{what} | {number} | {found} ({found / number:.0%}) | {verdict}"


def false_alarms(planted: Planted, findings: list[dict]) -> Counter:
    """Count by kind the untouched files that errors and warnings name."""
    flagged = {
        (f["kind"], path)
        for f in findings
        if f["severity"] != "info" and not set(f["paths"]) & planted.touched
        for path in f["paths"]
    }
    return Counter(kind for kind, _ in flagged)


if __name__ == "__main__":
    main()
