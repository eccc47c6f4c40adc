"""Files: those that cannot be read, and those with unexpected properties."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ilk.checking.findings.common import is_common, per_file
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import Severity
from ilk.checking.findings.records import Finding
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.inspection.facts import Facts
from ilk.data.inspection.inspect import Inspection
from ilk.spec import Conversion
from ilk.text import escaped

ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    "HEIF": (".heic", ".heif", ".hif"),
    "JXL": (".jxl",),
}
PLAIN_MODES = ("RGB", "L", "P", "RGBA", "LA", "PA")
EXTREME_RATIO, OUTSIDE_RATIO, FENCE = 4.0, 1.35, 3.0  # see _sizes
TINY = 32  # pixels: a smaller side shows little
LONG, STRIP = 2.8, 6.0  # aspect ratios

ACTIONS = {
    "file.incomplete": "Get the complete file, or delete it; training uses what can be read.",
    "file.empty": "Replace or delete it; training leaves it out.",
    "file.truncated": "Get the complete file, or delete it.",
    "file.not_a_picture": "Replace or delete it, or save it as JPEG or PNG; "
    "training leaves it out.",
    "file.needs_package": "Install the package, or save it as JPEG or PNG; training leaves it out.",
    "file.bomb": "Make it smaller, or allow more with --max-pixels; training leaves it out.",
    "file.unreadable": "Repair, replace or delete it; training leaves it out.",
    "file.ignored": "Ignore this if they are not pictures; else correct their extension.",
    "file.link": "Copy its target into the data: a copy of the folder would not contain it.",
    "file.changed": "Wait until nothing writes to the data, then check again.",
    "file.ending": "ilk uses the content, but other tools may fail: rename it.",
    "file.animated": "Ignore this if the first frame shows its class; else save the right frame, "
    "or choose pages and channels with --channels.",
    "file.mode": "Look at it in the report, which shows it as the network sees it.",
    "file.rotated": "ilk corrects this, but other tools may show it sideways: store it upright.",
    "file.size": "Check whether it belongs here; the network sees all pictures at the same size.",
}


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find problems with files, by what was recorded when they were read."""
    inspection = evidence.inspection
    yield from _left_out(inspection.catalog.left_out)
    yield from _changed(inspection)
    yield from _ending_early(inspection)
    yield from _links(inspection.catalog)
    for kind, look in (
        ("file.ending", _ending),
        ("file.animated", _animated),
        ("file.mode", _mode),
        ("file.rotated", _rotated),
    ):
        alike: dict[str, list[str]] = defaultdict(list)
        for picture, facts in zip(inspection.catalog.pictures, inspection.facts, strict=True):
            if remark := look(picture, facts, inspection.catalog.conversion):
                alike[remark].append(picture.path)
        for remark, paths in alike.items():
            yield from per_file(kind, "info", paths, remark, ACTIONS[kind], len(inspection.facts))
    yield from _sizes(inspection)


def _found(kind: str, severity: Severity, paths: Sequence[str], detail: str) -> Finding:
    return Finding(kind, severity, tuple(paths), detail, ACTIONS[kind])


# --- files that are left out ----------------------------------------------------------------------


def _left_out(left_out: Sequence[LeftOut]) -> Iterator[Finding]:
    ignored: dict[str, list[str]] = defaultdict(list)
    for file in left_out:
        kind = file.kind or ("file.unreadable" if file.unreadable else "")
        is_folder = os.path.isdir(file.path)  # noqa: PTH112 -- as in _suffix
        named = f"{escaped(file.path)} {file.reason}"
        if kind == "file.ignored" and is_folder:
            yield Finding(kind, "warning", (), named, "Add pictures, or delete it.")
        elif kind == "file.ignored":
            ignored[_suffix(file.path)].append(file.path)
        elif kind == "file.link":
            action = ACTIONS[kind] if is_folder else "Repair or delete it."
            yield Finding(kind, "warning", (), named, action)
        elif kind == "file.unreadable" and is_folder:
            yield _found(kind, "error", (), named)
        elif kind in ACTIONS:
            yield _found(kind, "error", (file.path,), file.reason)
    for suffix, paths in ignored.items():
        what = "without an extension"
        if suffix:
            what = f"with the extension {escaped(suffix)}, which no picture has"
        number = f"{len(paths):,} files" if len(paths) > 1 else "a file"
        yield _found("file.ignored", "info", paths, f"{number} {what}")


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 -- Path is ten times slower


def _ending_early(inspection: Inspection) -> Iterator[Finding]:
    for picture, facts in zip(inspection.catalog.pictures, inspection.facts, strict=True):
        if facts.ends_early:
            detail = "is truncated: a part is missing, but the rest can be read"
            yield _found("file.incomplete", "warning", (picture.path,), detail)


def _changed(inspection: Inspection) -> Iterator[Finding]:
    """Find files that changed after they were read."""
    for picture, facts in zip(inspection.catalog.pictures, inspection.facts, strict=True):
        if not facts.modified:
            continue
        try:
            status = Path(picture.path).stat()
        except OSError as error:
            detail = f"could be read, but can no longer be opened: {error.strerror}"
            yield _found("file.changed", "error", (picture.path,), detail)
            continue
        if (status.st_mtime_ns, status.st_size) != (facts.modified, facts.bytes):
            detail = "changed during the check: its findings may be out of date"
            yield _found("file.changed", "error", (picture.path,), detail)


def _links(catalog: Catalog) -> Iterator[Finding]:
    """Find symbolic links that leave the folder: files, and folders above them."""
    root = catalog.source
    if not os.path.isdir(root):  # noqa: PTH112 -- keeps the name as it was given
        return
    inside = os.path.join(os.path.realpath(root), "")  # noqa: PTH118
    folders: set[str] = set()
    for picture in catalog.pictures:
        if picture.content is not None:
            continue
        folders.add(os.path.dirname(picture.path))  # noqa: PTH120 -- as in _suffix
        if os.path.islink(picture.path):  # noqa: PTH114 -- as in _suffix
            target = os.path.realpath(picture.path)
            if not target.startswith(inside):
                detail = f"is a link to {escaped(target)}, outside the data folder"
                yield _found("file.link", "warning", (picture.path,), detail)
    for link in sorted({link for folder in folders for link in _linked(folder, root)}):
        target = os.path.realpath(link)
        if not target.startswith(inside):
            detail = f"{escaped(link)} is a link to the folder {escaped(target)}"
            yield _found("file.link", "warning", (), detail)


def _linked(folder: str, root: str) -> Iterator[str]:
    """Yield the links among a folder and its parents below the root."""
    while folder not in {root, "", os.path.dirname(folder)}:  # noqa: PTH120
        if os.path.islink(folder):  # noqa: PTH114 -- as in _suffix
            yield folder
        folder = os.path.dirname(folder)  # noqa: PTH120 -- as in _suffix


# --- files that are unusual -----------------------------------------------------------------------


def _ending(picture: Picture, facts: Facts, _: Conversion) -> str:
    suffix = _suffix(picture.path)
    usual = ENDINGS.get(facts.format, ()) if picture.content is None else ()
    if not usual or suffix in usual:
        return ""
    return f"has the extension {escaped(suffix) or 'none'}, but is a {facts.format}"


def _animated(picture: Picture, facts: Facts, conversion: Conversion) -> str:
    if facts.planes > 1 and conversion.channels:
        return ""
    if facts.planes > 1:
        return "has several pages or channels, of which the first is used (see --channels)"
    return "has several frames or pages, of which only the first is used" if facts.animated else ""


def _mode(picture: Picture, facts: Facts, conversion: Conversion) -> str:
    if facts.mode.startswith("CMYK"):
        return "has CMYK colours, which look different on a screen"
    if facts.deep:
        low, high = conversion.range or (0, 65535)
        return f"has more than 8 bits a channel: {low:g} to {high:g} become 0 to 255 (see --range)"
    if facts.transparent:
        return "has transparency, which is put on white"
    if facts.mode == "1":
        return "is black and white, with one bit per pixel"
    return "" if facts.mode in PLAIN_MODES else f"has unusual colours ({facts.mode})"


def _rotated(picture: Picture, facts: Facts, _: Conversion) -> str:
    if facts.orientation == 1:
        return ""
    return f"is stored rotated or mirrored (EXIF orientation {facts.orientation}); ilk corrects it"


# --- size and shape -------------------------------------------------------------------------------


def _sizes(inspection: Inspection) -> Iterator[Finding]:
    """Find pictures that are far larger, smaller or longer than the rest.

    The size is the square root of the number of pixels. It is extreme if it differs from the median
    by a factor of 4, or of 1.35 outside the outer fences (Tukey 1977): three times the
    interquartile range beyond the quartiles.
    """
    if not inspection.facts:
        return
    shapes = np.array([(f.width, f.height) for f in inspection.facts], np.float64)
    sides = np.sqrt(shapes.prod(axis=1))
    low, middle, high = np.quantile(sides, (0.25, 0.5, 0.75))
    fence = FENCE * (high - low)
    outside = (sides < low - fence) | (sides > high + fence)
    ratio = np.maximum(sides / middle, middle / sides)
    odd = (ratio >= EXTREME_RATIO) | (outside & (ratio >= OUTSIDE_RATIO))
    stretch = shapes.max(axis=1) / shapes.min(axis=1)
    long = stretch >= LONG
    if is_common(int(np.count_nonzero(long)), len(long)):
        long[:] = False
    if is_common(int(np.count_nonzero(odd)), len(odd)):
        odd[:] = False
    for i in np.flatnonzero(odd | long):
        width, height = map(int, shapes[i])
        remarks = [f"has {width:,} x {height:,} pixels"]
        if odd[i]:
            remarks.append(f"most have about {middle:,.0f} x {middle:,.0f}")
        if long[i]:
            remarks.append(f"one side is {stretch[i]:.1f} times the other")
        bad = (odd[i] and sides[i] < TINY) or (long[i] and stretch[i] >= STRIP)
        path = inspection.catalog.pictures[i].path
        yield _found("file.size", "warning" if bad else "info", (path,), "; ".join(remarks))
