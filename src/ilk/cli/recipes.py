"""``ilk recipes``."""

from __future__ import annotations


def recipes(name: str | None = None, /) -> None:
    """List the shipped recipes, or print one with all its settings.

    Parameters
    ----------
    name
        The recipe to print; save it, edit it, and pass the file to 'ilk train --recipe'.
    """
    from ilk import recipes as shelf

    if name is not None:
        print(shelf.load(name).to_yaml(), end="")
        return
    width = max(map(len, shelf.shipped()))
    for key, path in shelf.shipped().items():
        print(f"{key:<{width}}  {shelf.summary(path)}")
