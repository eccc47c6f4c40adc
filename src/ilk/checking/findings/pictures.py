"""Pictures: those that show little, or nothing of what they should.

All is judged by how the pictures look at no more than 128 pixels along each side; see
`ilk.data.inspection.statistics`. The limits were set by looking at the extremes of cats_dogs,
ants_bees and CIFAR-10, so that next to no picture is named in which people see what it shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.per_file import is_common, per_file
from ilk.checking.findings.records import Finding, Severity
from ilk.checking.findings.spread import middle_and_spread

Marks = NDArray[np.bool_]
BLANK = 0.012  # contrast: a colour with noise has 0.004; the faintest bird of CIFAR-10 0.016
DARK = 0.33  # the 99th percentile of brightness
VIVID = 0.45  # that and half the colour: pure blue has the luma of dark grey, and looks bright
BRIGHT = 0.93  # its 5th percentile
# Sharpness by contrast, that is the strength of edges among that of all differences. No sharp photo
# is below 0.2; of photos blurred by a Gaussian of 1.2 % of their longer side, 93 % are below this.
BLURRED = 0.14
# Below both, cleanvision (0.3.7) calls a picture blurred; its 19.85 is of pictures made small in
# another way.
FEW_EDGES, FEW_LUMPS = 0.134, 24.0
GREY, COLOURED = 0.01, 0.03  # colour of a grey picture, and the median of coloured ones
SMALL_SHARE = 0.1  # grey pictures are unusual up to here
# A graphic: few shades and large even areas, or hardly anything but even areas, maybe shaded.
PLAIN, EVEN, ALL_EVEN = 1.3, 0.75, 0.9  # entropy; flat
SMALLEST = 64  # pixels: on a smaller side, a bird in a clear sky looks like a graphic
OUTLIER = 4.0  # standard deviations, estimated by the median of absolute deviations
OFTEN = 3  # the same graphic under so many names is no picture of anything
LEAST_SPREAD = 0.01  # of what is the same in nearly all pictures

ACTIONS = {
    "picture.blank": "Delete it: there is nothing to learn from it.",
    "picture.placeholder": "Look at it; delete it if the real picture is missing.",
    "picture.dark": "Look whether its class can be told; brighten or delete it.",
    "picture.bright": "Look whether its class can be told; darken or delete it.",
    "picture.blurred": "Look whether its class can be told; keep it if such pictures will come.",
    "picture.grey": "Nothing, if grey pictures will come; else see that no class has most of them.",
}


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find pictures that are blank, placeholders, dark, bright, blurred, or grey among coloured."""
    statistic, total = evidence.inspection.statistic, len(evidence.catalog)
    if not total:
        return
    contrast = statistic("contrast")
    blank = contrast < BLANK
    placeholder = ~blank & _placeholders(evidence)
    seen = ~blank & ~placeholder
    soft = statistic("sharpness") < BLURRED * contrast
    soft |= (statistic("edges") < FEW_EDGES) & (statistic("lumps") < FEW_LUMPS)
    highlight = statistic("highlight")
    dark = (highlight < DARK) & (highlight + statistic("colour") / 2 < VIVID)
    findings: tuple[tuple[str, Severity, Marks, str], ...] = (
        ("picture.blank", "warning", blank, "has hardly any contrast"),
        (
            "picture.placeholder",
            "warning",
            placeholder,
            "is a plain graphic, not a photo as the rest of its class: a placeholder?",
        ),
        ("picture.dark", "warning", seen & dark, "is dark nearly everywhere"),
        (
            "picture.bright",
            "warning",
            seen & (statistic("shadow") > BRIGHT),
            "is white nearly all over",
        ),
        ("picture.blurred", "info", seen & soft, "has hardly any sharp edges"),
        (
            "picture.grey",
            "info",
            seen & _grey(statistic("colour")),
            "is grey, most others are coloured",
        ),
    )
    paths = evidence.paths
    for kind, severity, marks, remark in findings:
        marked = [paths[i] for i in np.flatnonzero(marks)]
        yield from per_file(kind, severity, marked, remark, ACTIONS[kind], total)


def _grey(colour: Floats) -> Marks:
    grey = colour < GREY
    unusual = np.median(colour) > COLOURED and grey.mean() <= SMALL_SHARE
    return grey if unusual else np.zeros_like(grey)


def _placeholders(evidence: Evidence) -> Marks:
    """Find graphics that are unlike the rest of their class, or lie there under several names."""
    inspection = evidence.inspection
    flat, entropy = inspection.statistic("flat"), inspection.statistic("entropy")
    sides = np.array([min(f.width, f.height) for f in inspection.facts])
    graphic = (sides >= SMALLEST) & ((entropy < PLAIN) & (flat > EVEN) | (flat > ALL_EVEN))
    if is_common(int(np.count_nonzero(graphic)), len(graphic)):  # logos, say, or scans
        return np.zeros_like(graphic)
    digests = [p.digest for p in evidence.catalog.pictures]
    number = Counter(digests)
    often = np.array([number[digest] >= OFTEN for digest in digests])
    odd = np.maximum(_deviation(flat, evidence.targets), _deviation(-entropy, evidence.targets))
    return graphic & (often | (odd > OUTLIER))


def _deviation(values: Floats, targets: NDArray[np.int64]) -> Floats:
    """Return how far each value is above the median of its class, in robust deviations."""
    away = np.zeros_like(values)
    for target in np.unique(targets):
        members = targets == target
        middle, spread = middle_and_spread(values[members])
        away[members] = (values[members] - middle) / max(spread, LEAST_SPREAD)
    return away
