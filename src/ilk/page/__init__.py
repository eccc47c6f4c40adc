"""Page: what ilk's HTML pages share: one look, self-contained, opened offline, no script."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

BASE = "base.html"


def write(path: Path, package: str, template: str, **values: Any) -> None:
    """Fill a template and write the page.

    Parameters
    ----------
    path : Path
        Where the page goes.
    package : str
        The package that the template lies in.
    template : str
        The template's file name. It extends ``base.html``: the blocks ``style`` and ``body``.
    **values
        What the template shows. All text is escaped; ``title`` is needed by the base.
    """
    from jinja2 import DictLoader, Environment

    base = resources.files(__name__).joinpath(BASE).read_text(encoding="utf-8")
    own = resources.files(package).joinpath(template).read_text(encoding="utf-8")
    pages = Environment(autoescape=True, loader=DictLoader({BASE: base}))
    pages.filters["thousands"] = "{:,}".format
    text = pages.from_string(own).render(**values)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
