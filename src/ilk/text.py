"""Text for messages: escaped, joined, pluralized, and never longer than a line."""

from __future__ import annotations

import os
from collections.abc import Iterable


def error_text(error: BaseException, longest: int = 300) -> str:
    """Return what someone else's error says, on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[:longest]} …"


def escaped(path: str | os.PathLike[str]) -> str:
    """Return a path fit for a terminal or a report: odd bytes and control characters escaped."""
    text = os.fspath(path)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def join_limited(items: Iterable[str], limit: int = 5) -> str:
    """Join names for a message, at most ``limit`` of them, saying how many more there are."""
    names = [escaped(item) for item in items]
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def split_commas(values: Iterable[str]) -> list[str]:
    """Return the names in comma-separated lists, stripped and without empty ones."""
    return [name for value in values for part in value.split(",") if (name := part.strip())]


def pluralize(number: int, noun: str, many: str = "") -> str:
    """Return a number with its noun: "1 picture", "1,500 pictures"."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a duration as text: ``45 s``, ``2 min``, ``1 h 5 min``."""
    if (whole := max(0, round(seconds))) < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))
