"""Page: the layout that ilk's HTML pages share: self-contained, offline, without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk.runtime import write_whole
from ilk.text import escaped

if TYPE_CHECKING:
    from jinja2 import Template

SHARED = ("base.html", "figure.html")


@dataclass(frozen=True)
class Figure:
    """One picture on a page: its thumbnail as a data URI (if there is one), and its names.

    The macro ``figure`` of ``figure.html`` shows it.
    """

    name: str
    tags: tuple[str, ...]
    thumbnail: str | None


def short(text: str, longest: int) -> str:
    """Return an escaped text with its middle elided if it is very long."""
    clean = escaped(text)
    if len(clean) <= longest:
        return clean
    return f"{clean[: longest // 2]}…{clean[-longest // 2 :]}"


def write(path: Path, package: str, template: str, **values: Any) -> None:
    """Fill a template and write the page, completely or not at all.

    Parameters
    ----------
    path : Path
        The file to write.
    package : str
        The package that holds the template.
    template : str
        The template's file name. It extends ``base.html``: the blocks ``style`` and ``body``; and
        may import the macro ``figure`` from ``figure.html``.
    **values
        The template's variables. All text is escaped; the base needs ``title``.
    """
    text = _template(package, template).render(**values)
    write_whole(path, text.encode("utf-8", "backslashreplace"))


@cache  # compiling takes longer than filling
def _template(package: str, name: str) -> Template:
    from jinja2 import DictLoader, Environment

    texts = {shared: _text(__name__, shared) for shared in SHARED}
    pages = Environment(autoescape=True, loader=DictLoader(texts))
    pages.filters["thousands"] = "{:,}".format
    return pages.from_string(_text(package, name))


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
