"""Remarks: what the cheap checks find, told in a line each by a training."""

from __future__ import annotations

from collections import defaultdict

from ilk.data.catalog import Catalog
from ilk.data.inspection.copies import spare
from ilk.text import join_limited

TOO_FEW = 5


def remarks(catalog: Catalog) -> list[str]:
    """Return in a line each what is grave about a digested catalog."""
    labels: dict[str, set[str]] = defaultdict(set)
    for picture in catalog.pictures:
        labels[picture.digest].add(picture.label or "")
    torn = sum(len(names) > 1 for names in labels.values())
    few = [f"{name} ({n})" for name, n in sorted(catalog.counts().items()) if n < TOO_FEW]
    lines = []
    if torn:
        what = "picture lies" if torn == 1 else "pictures lie"
        lines.append(f"{torn:,} {what} under more than one label ('ilk check' names them)")
    if few:
        lines.append(f"Hardly any pictures of {join_limited(few)}: do not trust it there")
    copies = spare(catalog)
    if copies:
        what = (
            "picture is a copy or near copy"
            if copies == 1
            else "pictures are copies or near copies"
        )
        lines.append(f"{copies:,} {what} of others ('ilk check' names them)")
    return lines
