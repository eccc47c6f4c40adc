"""Shortcuts: what tells the class although it has nothing to do with what the picture shows.

If all dogs come from one camera and all cats from another, a model learns the cameras: it scores
well on such pictures, and fails on others ("Shortcut learning in deep neural networks", Geirhos et
al. 2020; for medical pictures, Zech et al. 2018). So each attribute of the files is given, alone,
to a small decision tree: where that tells the classes apart out of fold, a network can too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Targets
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding
from ilk.data.inspection.inspect import Inspection
from ilk.evaluation.label_issues import adjusted_accuracy_at_least

Columns = NDArray[np.float64]

MOST = 5_000  # pictures looked at
MOST_CLASSES = 100  # the largest: what a tree of all classes takes grows with their square
ENOUGH = 10  # pictures of a class that takes part
FOLDS = 5
ADJUSTED = 0.5  # half of the way from chance to certainty


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find attributes of the files that alone tell the class far better than chance."""
    rows, targets = _sampled(evidence.targets)
    number = len(np.unique(targets))
    if number < 2:
        return
    for name, of in ATTRIBUTES.items():
        values = of(evidence.inspection)[rows]
        if (values == values[0]).all():
            continue
        recalls = _recalls(values, targets)
        counts = np.bincount(targets)
        if adjusted_accuracy_at_least(recalls, counts) >= ADJUSTED:
            detail = (
                f"{name} alone tells the class of {recalls.mean():.0%} of the pictures, averaged "
                f"over the classes (chance: {1 / number:.0%})"
            ).replace("%", " %")
            yield Finding("balance.shortcut", "warning", (), detail, ADVICE[name])


def _sampled(targets: Targets) -> tuple[NDArray[np.intp], Targets]:
    """Choose rows of the classes that are large enough, and number these classes anew."""
    counts = np.bincount(targets[targets >= 0])
    large = np.flatnonzero(counts >= ENOUGH)
    large = np.sort(large[np.argsort(-counts[large], kind="stable")][:MOST_CLASSES])
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(targets, large)))
    per_class = max(ENOUGH, MOST // max(1, len(large)))
    kept = np.sort(
        np.concatenate([rows[targets[rows] == k][:per_class] for k in large] or [rows[:0]])
    )
    return kept, np.searchsorted(large, targets[kept])


def _recalls(values: Columns, targets: Targets) -> NDArray[np.float64]:
    """Return the share of each class that a small tree tells, out of fold."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    number = int(targets.max()) + 1
    tree = DecisionTreeClassifier(
        class_weight="balanced", max_leaf_nodes=4 * number, min_samples_leaf=3, random_state=0
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    told = cross_val_predict(tree, values, targets, cv=folds) == targets
    recalls: NDArray[np.float64] = np.bincount(targets, told) / np.bincount(targets)
    return recalls


# --- attributes -----------------------------------------------------------------------------------


def _numbers(*columns: Sequence[float]) -> Columns:
    return np.column_stack([np.asarray(c, np.float64) for c in columns])


def _codes(names: Sequence[str]) -> Columns:
    """Number the names by their order; a tree can single out each of them."""
    number = {name: k for k, name in enumerate(sorted(set(names)))}
    return _numbers([number[name] for name in names])


def _size(seen: Inspection) -> Columns:
    return _numbers([f.width for f in seen.facts], [f.height for f in seen.facts])


def _shape(seen: Inspection) -> Columns:
    return _numbers([f.width / max(1, f.height) for f in seen.facts])


def _compression(seen: Inspection) -> Columns:
    return _numbers([f.bytes / max(1, f.width * f.height) for f in seen.facts])


ATTRIBUTES: Mapping[str, Callable[[Inspection], Columns]] = {
    "size": _size,
    "shape": _shape,
    "compression": _compression,
    "format": lambda seen: _codes([f.format for f in seen.facts]),
    "camera": lambda seen: _codes([f.camera for f in seen.facts]),
    "colour mode": lambda seen: _codes([f.mode for f in seen.facts]),
    "brightness": lambda seen: _numbers(seen.statistic("brightness").tolist()),
}
ADVICE = {
    "size": "Mix sources, so that each class comes in all sizes: a resized picture still tells.",
    "shape": "Mix sources, or cut all pictures to one shape: a model sees it in the distortion.",
    "compression": "Save all pictures with one quality, or mix sources: its traces can be seen.",
    "format": "Convert all pictures to one format, or mix sources: its traces can be seen.",
    "camera": "Take pictures of each class with each camera: a model may learn the camera.",
    "colour mode": "Bring all pictures to one colour mode, or mix sources.",
    "brightness": "Nothing, if it is what makes the class; else mix lights in each class.",
}
