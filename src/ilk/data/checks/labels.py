"""Labels: those that are likely wrong, those that are missing, and names that do not fit."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import Catalog
from ilk.data.checks.above_chance import adjusted_accuracy_at_least
from ilk.data.checks.evidence import Evidence, Floats
from ilk.data.checks.findings import Finding, Severity
from ilk.errors import listed, shown

UNLABELLED = "file.unlabelled"
CONTRADICTED = -0.3  # of a margin: another class is about twice as likely, 0.65 to 0.35


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find labels that are missing or likely wrong, and names and splits that do not fit."""
    yield from _unlabelled(evidence.catalog)
    yield from _names(evidence.catalog)
    yield from _splits(evidence.catalog)
    yield from _suspects(evidence)


def _unlabelled(catalog: Catalog) -> Iterator[Finding]:
    paths = tuple(p.path for p in catalog.pictures if p.label is None)
    paths += tuple(x.path for x in catalog.left_out if x.kind == UNLABELLED)
    if paths:
        detail = f"{len(paths):,} without a label, so nothing can be learned from them"
        action = "Put each into its class's folder, or away; training leaves it out."
        yield Finding(UNLABELLED, "warning", paths, detail, action)


# --- names and splits -----------------------------------------------------------------------------


def _names(catalog: Catalog) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in catalog.classes:
        alike[plain(name)].append(name)
    counts = catalog.counts()
    for names in alike.values():
        if len(names) > 1:
            shares = listed(f"'{name}' ({counts[name]:,} pictures)" for name in names)
            detail = f"differ only in case, spaces, hyphens or accents: {shares}"
            action = "Give them one name, if they mean the same: they are learned as two classes."
            yield Finding("label.names", "warning", (), detail, action)


def plain(name: str) -> str:
    """Return a class name without case, accents, spaces, underscores and hyphens.

    Between two digits the separator stays: '1-1' is not '11'. Only accents of Latin, Greek and
    Cyrillic letters go; the marks of other scripts make letters of their own.
    """
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", name) if not "\u0300" <= c <= "\u036f"
    )
    spaced = re.sub(r"[\s_\-\u2010-\u2015]+", " ", letters.casefold()).strip()
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced) or name


def _splits(catalog: Catalog) -> Iterator[Finding]:
    """Find classes that some of the splits lack."""
    for split in catalog.splits:
        present = {p.label for p in catalog.of(split)}
        missing = [name for name in catalog.classes if name not in present]
        if missing:
            severity: Severity = "error" if split == "train" else "warning"
            detail = f"{split} has no pictures of {listed(missing)}, unlike other splits"
            action = (
                "Add pictures to train: what is not learned is never predicted."
                if split == "train"
                else f"Move pictures to {split}: else nothing is measured of these classes there."
            )
            yield Finding("label.splits", severity, (), detail, action)


# --- labels that are likely wrong -----------------------------------------------------------------


class Suspicion(NamedTuple):
    """Which labels are likely wrong, ``bool [N]``, and how much speaks for each, ``float32 [N]``.

    The score of a label is its probability less that of the likeliest other class: from -1, surely
    wrong, to 1, surely right. It is NaN where nothing is known.
    """

    suspects: NDArray[np.bool_]
    scores: Floats

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Return all rows, the most suspicious first; those of which nothing is known last."""
        return np.argsort(self.scores, kind="stable")


def suspicion(
    probabilities: Floats, targets: NDArray[np.int64], contradicted: float = CONTRADICTED
) -> Suspicion:
    """Say which labels are likely wrong, by confident learning.

    Parameters
    ----------
    probabilities : float32 array [N, K]
        Out of fold: see `Evidence`. A row of NaN says nothing.
    targets : int64 array [N]
        The classes given, -1 of pictures without a label.
    contradicted : float
        The margin below which a label is suspect whatever is estimated.

    Notes
    -----
    "Confident learning: estimating uncertainty in dataset labels" (Northcutt et al. 2021), by
    cleanlab, its authors' library. A picture that is as likely of another class as pictures of that
    class usually are counts as one of its; so it is estimated how many labels of each class are
    wrong, and for which class. Suspects are the least likely labels of each class, so many as are
    wrong, as long as they are also, for the class they are taken for, among those of the largest
    margin (the paper's "C+NR"). Scores are its margins.

    An estimate knows nothing of single mistakes among labels that are nearly all right, so labels
    that are plainly contradicted are suspect too. Models that do no better than guessing contradict
    nobody.
    """
    suspects = np.zeros(len(targets), bool)
    scores = np.full(len(targets), np.nan, np.float32)
    rows, known, given = _known(probabilities, targets)
    if known.shape[1] > 1:
        from cleanlab.filter import find_label_issues

        scores[rows] = margins(known, given)
        if beats_guessing(probabilities, targets):
            issues = find_label_issues(given, known, filter_by="both", n_jobs=1)
            suspects[rows] = issues | (scores[rows] < contradicted)
    return Suspicion(suspects, scores)


def beats_guessing(probabilities: Floats, targets: NDArray[np.int64]) -> bool:
    """Say whether the models that give such probabilities tell the classes at all.

    It takes what `suspicion` takes.
    """
    _, known, given = _known(probabilities, targets)
    if known.shape[1] < 2:
        return False
    counts = np.bincount(given)
    told = known.argmax(axis=1) == given
    return adjusted_accuracy_at_least(np.bincount(given, told) / counts, counts) > 0


def _known(
    probabilities: Floats, targets: NDArray[np.int64]
) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Return the rows of which something is known, their probabilities, and their classes.

    Classes without a row are left out, and the others numbered anew.
    """
    rows = np.flatnonzero((targets >= 0) & np.isfinite(probabilities).all(axis=1))
    present, given = np.unique(targets[rows], return_inverse=True)
    known = probabilities[np.ix_(rows, present)]
    return rows, known / known.sum(axis=1, keepdims=True), given


def margins(probabilities: Floats, targets: NDArray[np.int64]) -> Floats:
    """Return the probability of each label less that of the likeliest other class."""
    rows = np.arange(len(targets))
    others = probabilities.copy()
    others[rows, targets] = -np.inf
    result: Floats = probabilities[rows, targets] - others.max(axis=1)
    return result


def _suspects(evidence: Evidence) -> Iterator[Finding]:
    """Find suspects, the most suspicious first."""
    probabilities, targets = evidence.probabilities, evidence.targets
    if probabilities is None:
        return
    found = suspicion(probabilities, targets)
    paths, classes = evidence.paths, [shown(name) for name in evidence.catalog.classes]
    action = "Look at it; if the label is wrong, move it to its class, else leave it."
    for row in found.ranking[found.suspects[found.ranking]]:
        given, likely = int(targets[row]), int(probabilities[row].argmax())
        detail = (
            f"labelled {classes[given]}, looks like {classes[likely]} "
            f"({probabilities[row, likely]:.2f} against {probabilities[row, given]:.2f})"
        )
        yield Finding("label.suspect", "warning", (paths[row],), detail, action)
