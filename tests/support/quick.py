"""Spare tests the drawing of plots, of which each takes longer than to train on tiny pictures."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image


def save_blank(_: Any, file: Any, **__: Any) -> None:
    """Save an empty picture in the place of a figure."""
    Image.new("RGB", (8, 8)).save(file, "PNG")


def blank_plots(patch: pytest.MonkeyPatch) -> None:
    """Have matplotlib save empty pictures; what the figures show has tests of its own."""
    patch.setattr("matplotlib.figure.Figure.savefig", save_blank)
