"""Pictures: those that show little or nothing.

They are judged by statistics at no more than 128 pixels along each side; see
`ilk.data.inspection.statistics`. The limits were set on the extremes of cats_dogs, ants_bees and
CIFAR-10, so that hardly any picture is reported in which people recognise its class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from ilk.arrays import Floats, Mask, Targets
from ilk.checking.findings.common import is_common, median_and_spread, per_file
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import Severity
from ilk.checking.findings.records import Finding

BLANK = 0.012  # contrast: a colour with noise has 0.004; the faintest bird of CIFAR-10 0.016
DARK = 0.33  # the 99th percentile of brightness
VIVID = 0.45  # that plus half the colour: pure blue has the luma of dark grey, but looks bright
BRIGHT = 0.93  # its 5th percentile
# Sharpness relative to contrast. No sharp photo is below 0.2; of photos blurred by a Gaussian of
# 1.2 % of their longer side, 93 % are below this.
BLURRED = 0.14
# Below both, cleanvision (0.3.7) calls a picture blurred; its 19.85 applies to another way of
# resizing.
FEW_EDGES, FEW_LUMPS = 0.134, 24.0
GREY, COLOURED = 0.01, 0.03  # colour of a grey picture, and the median of coloured ones
MAX_GREY_SHARE = 0.1  # above which grey pictures are not unusual
# A graphic: few shades and large even areas, or almost only even areas.
PLAIN, EVEN, ALL_EVEN = 1.3, 0.75, 0.9  # entropy; flat
MIN_SIDE = 64  # pixels: smaller photos, such as a bird in a clear sky, look like graphics
OUTLIER = 4.0  # standard deviations, estimated by the median of absolute deviations
MIN_COPIES = 3  # of the same graphic, to be a placeholder
MIN_SPREAD = 0.01  # of a statistic that is the same for nearly all pictures

ACTIONS = {
    "picture.blank": "Delete it: it shows nothing.",
    "picture.placeholder": "Look at it, and delete it if it stands for a missing picture.",
    "picture.dark": "Check whether its class is recognisable; else brighten or delete it.",
    "picture.bright": "Check whether its class is recognisable; else darken or delete it.",
    "picture.blurred": "Check whether its class is recognisable; keep it if you expect its kind.",
    "picture.grey": "Keep it if you expect its kind, but make sure that not all are of one class.",
}
# Of more than 8 bits, or several channels: it may be read in another way than it was meant.
READ_OTHERWISE = "See whether --range or --channels shows more of it; else it shows little."


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find blank, dark, bright and blurred pictures, placeholders, and grey among coloured ones."""
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
    findings: tuple[tuple[str, Severity, Mask, str], ...] = (
        ("picture.blank", "warning", blank, "has hardly any contrast"),
        (
            "picture.placeholder",
            "warning",
            placeholder,
            "is a plain graphic, unlike the rest of its class: perhaps a placeholder",
        ),
        ("picture.dark", "warning", seen & dark, "is dark almost everywhere"),
        (
            "picture.bright",
            "warning",
            seen & (statistic("shadow") > BRIGHT),
            "is white almost everywhere",
        ),
        ("picture.blurred", "info", seen & soft, "has hardly any sharp edges"),
        (
            "picture.grey",
            "info",
            seen & _grey(statistic("colour")),
            "is greyscale, but most others are coloured",
        ),
    )
    paths = evidence.paths
    odd = np.array([facts.deep or facts.planes > 1 for facts in evidence.inspection.facts])
    for kind, severity, marks, remark in findings:
        for some, action in ((marks & ~odd, ACTIONS[kind]), (marks & odd, READ_OTHERWISE)):
            marked = [paths[i] for i in np.flatnonzero(some)]
            yield from per_file(kind, severity, marked, remark, action, total)


def _grey(colour: Floats) -> Mask:
    grey = colour < GREY
    unusual = np.median(colour) > COLOURED and grey.mean() <= MAX_GREY_SHARE
    return grey if unusual else np.zeros_like(grey)


def _placeholders(evidence: Evidence) -> Mask:
    """Find graphics that are unlike the rest of their class, or occur several times."""
    inspection = evidence.inspection
    flat, entropy = inspection.statistic("flat"), inspection.statistic("entropy")
    sides = np.array([min(f.width, f.height) for f in inspection.facts])
    graphic = (sides >= MIN_SIDE) & ((entropy < PLAIN) & (flat > EVEN) | (flat > ALL_EVEN))
    if is_common(int(np.count_nonzero(graphic)), len(graphic)):  # logos, say, or scans
        return np.zeros_like(graphic)
    digests = [p.digest for p in evidence.catalog.pictures]
    number = Counter(digests)
    often = np.array([number[digest] >= MIN_COPIES for digest in digests])
    odd = np.maximum(_deviation(flat, evidence.targets), _deviation(-entropy, evidence.targets))
    return graphic & (often | (odd > OUTLIER))


def _deviation(values: Floats, targets: Targets) -> Floats:
    """Return how many robust standard deviations each value is above the median of its class."""
    away = np.zeros_like(values)
    for target in np.unique(targets):
        members = targets == target
        middle, spread = median_and_spread(values[members])
        away[members] = (values[members] - middle) / max(spread, MIN_SPREAD)
    return away
