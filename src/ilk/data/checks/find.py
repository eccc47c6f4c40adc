"""Find: run all checks."""

from __future__ import annotations

from collections.abc import Iterable

from ilk.data.checks import balance, duplicates, files, labels, outliers, pictures, shortcuts
from ilk.data.checks.evidence import Evidence
from ilk.data.checks.findings import ORDER, Findings
from ilk.data.checks.kinds import title
from ilk.data.near import Pair

NEED_FEATURES = ("label.suspect", "outlier")


def find_all(evidence: Evidence, pairs: Iterable[Pair] = (), missing: str = "") -> Findings:
    """Return all that is wrong, the gravest first.

    Parameters
    ----------
    evidence : Evidence
    pairs : iterable of Pair
        The near copies among the pictures.
    missing : str
        Why there are no features, if there are none.
    """
    found = [
        *files.find(evidence),
        *pictures.find(evidence),
        *duplicates.find(evidence, list(pairs)),
        *labels.find(evidence),
        *balance.find(evidence),
        *shortcuts.find(evidence),
        *outliers.find(evidence),
    ]
    found.sort(key=lambda f: ORDER.index(f.severity))
    catalog = evidence.catalog
    unable = NEED_FEATURES if evidence.features is None and missing else ()
    return Findings(
        len(catalog) + len(catalog.left_out),
        tuple(found),
        catalog,
        tuple(f"{title(kind)} ({kind}): {missing}" for kind in unable),
    )
