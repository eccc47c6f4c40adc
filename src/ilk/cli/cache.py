"""``ilk cache``."""

from __future__ import annotations

from ilk.text import escaped


def cache(*, clear: bool = False) -> None:
    """Show the size of the cache of features, backbones and converted graphs, or clear it.

    ILK_CACHE sets its folder, and ILK_CACHE_GB its limit (default: 4), beyond which the least
    recently used files are removed.

    Parameters
    ----------
    clear
        Remove everything but downloaded data sets.
    """
    from ilk.data import cache as store
    from ilk.runtime import cache_root

    if clear:
        print(f"{store.clear() / 1e6:,.1f} MB removed from {escaped(cache_root())}")
    else:
        used, limit = store.size() / 1e6, store.limit_bytes() / 1e6
        print(f"{used:,.1f} MB of at most {limit:,.0f} MB in {escaped(cache_root())}")
