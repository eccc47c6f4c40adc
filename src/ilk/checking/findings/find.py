"""Find: run all checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ilk.checking.findings import balance, duplicates, files, labels, outliers, pictures, shortcuts
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import ORDER, Findings
from ilk.data.inspection.near import Pair

NEED_NETWORK = ("label.suspect", "outlier")


def find_all(
    evidence: Evidence, pairs: Iterable[Pair] = (), missing: Mapping[str, str] | None = None
) -> Findings:
    """Return all that is wrong, the gravest first.

    Parameters
    ----------
    evidence : Evidence
    pairs : iterable of Pair
        The near copies among the pictures.
    missing : mapping of str to str, optional
        Why some kinds cannot be looked for.
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
    return Findings(
        len(catalog) + len(catalog.left_out), tuple(found), catalog, dict(missing or {})
    )
