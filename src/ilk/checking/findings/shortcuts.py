"""Shortcuts: attributes that predict the class without showing it.

If all dogs come from one camera and all cats from another, a model learns the cameras: it scores
well on such pictures and fails on others ("Shortcut learning in deep neural networks", Geirhos et
al. 2020; for medical pictures, Zech et al. 2018). So a small decision tree is trained on each
attribute of the files alone: if it predicts the class out of fold, a network can too.
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

MAX_PICTURES = 5_000
MAX_CLASSES = 100  # the largest ones: the cost of a tree grows with the square of their number
MIN_PICTURES = 10  # of a class
FOLDS = 5
MIN_ACCURACY = 0.5  # adjusted: half of the way from chance to perfection


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find attributes of the files that predict the class far better than chance."""
    sample, targets = _sampled(evidence.targets)
    number = len(np.unique(targets))
    if number < 2:
        return
    for name, of in ATTRIBUTES.items():
        values = of(evidence.inspection)[sample]
        if (values == values[0]).all():
            continue
        recalls = _recalls(values, targets)
        counts = np.bincount(targets)
        if adjusted_accuracy_at_least(recalls, counts) >= MIN_ACCURACY:
            detail = (
                f"{name} alone predicts the class with a balanced accuracy of {recalls.mean():.0%} "
                f"(chance: {1 / number:.0%})"
            ).replace("%", " %")
            yield Finding("balance.shortcut", "warning", (), detail, ADVICE[name])


def _sampled(targets: Targets) -> tuple[NDArray[np.intp], Targets]:
    """Return a sample of pictures of the large classes, and these classes renumbered."""
    counts = np.bincount(targets[targets >= 0])
    large = np.flatnonzero(counts >= MIN_PICTURES)
    large = np.sort(large[np.argsort(-counts[large], kind="stable")][:MAX_CLASSES])
    order = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(targets, large)))
    per_class = max(MIN_PICTURES, MAX_PICTURES // max(1, len(large)))
    kept = np.sort(
        np.concatenate([order[targets[order] == k][:per_class] for k in large] or [order[:0]])
    )
    return kept, np.searchsorted(large, targets[kept])


def _recalls(values: Columns, targets: Targets) -> NDArray[np.float64]:
    """Return the recall of each class by a small tree, out of fold."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    number = int(targets.max()) + 1
    tree = DecisionTreeClassifier(
        class_weight="balanced", max_leaf_nodes=4 * number, min_samples_leaf=3, random_state=0
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    right = cross_val_predict(tree, values, targets, cv=folds) == targets
    recalls: NDArray[np.float64] = np.bincount(targets, right) / np.bincount(targets)
    return recalls


# --- attributes -----------------------------------------------------------------------------------


def _numbers(*columns: Sequence[float]) -> Columns:
    return np.column_stack([np.asarray(c, np.float64) for c in columns])


def _codes(names: Sequence[str]) -> Columns:
    """Number the names in sorted order, so that a tree can single out each of them."""
    number = {name: k for k, name in enumerate(sorted(set(names)))}
    return _numbers([number[name] for name in names])


def _size(inspection: Inspection) -> Columns:
    return _numbers([f.width for f in inspection.facts], [f.height for f in inspection.facts])


def _shape(inspection: Inspection) -> Columns:
    return _numbers([f.width / max(1, f.height) for f in inspection.facts])


def _compression(inspection: Inspection) -> Columns:
    return _numbers([f.bytes / max(1, f.width * f.height) for f in inspection.facts])


ATTRIBUTES: Mapping[str, Callable[[Inspection], Columns]] = {
    "size": _size,
    "shape": _shape,
    "compression": _compression,
    "format": lambda inspection: _codes([f.format for f in inspection.facts]),
    "camera": lambda inspection: _codes([f.camera for f in inspection.facts]),
    "colour mode": lambda inspection: _codes([f.mode for f in inspection.facts]),
    "brightness": lambda inspection: _numbers(inspection.statistic("brightness").tolist()),
}
ADVICE = {
    "size": "Mix sources, so that each class has all sizes: resizing leaves traces.",
    "shape": "Mix sources, or crop all pictures to one shape: a model sees the distortion.",
    "compression": "Save all pictures with the same quality, or mix sources: it leaves traces.",
    "format": "Convert all pictures to one format, or mix sources: formats leave traces.",
    "camera": "Take pictures of each class with each camera: a model may learn the camera.",
    "colour mode": "Convert all pictures to one colour mode, or mix sources.",
    "brightness": "Ignore this if brightness defines the class; else vary the light in each class.",
}
