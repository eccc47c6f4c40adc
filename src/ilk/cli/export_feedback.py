"""``ilk export-feedback``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import say
from ilk.text import escaped, pluralize


def export_feedback(file: Path, /, *, output: Path = Path("feedback")) -> None:
    """Write the corrections stored by 'ilk serve --feedback' as pictures with a catalog.csv.

    Train with them: ilk train feedback/catalog.csv.

    Parameters
    ----------
    file
        The SQLite file.
    output
        A new or empty folder.
    """
    import ilk

    number = ilk.export_feedback(file, output)
    say(f"Wrote {pluralize(number, 'picture')} and {escaped(output / 'catalog.csv')}")
