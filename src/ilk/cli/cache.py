"""``ilk cache``."""

from __future__ import annotations

from ilk.text import escaped


def cache(*, clear: bool = False) -> None:
    """Show or clear what ilk keeps to be fast: features, backbones and converted graphs.

    ILK_CACHE moves it; ILK_CACHE_GB sets its limit (4 by default), beyond which what was not used
    for longest is removed.

    Parameters
    ----------
    clear
        Remove all of these. Data sets that were downloaded stay.
    """
    from ilk.data import cache as store
    from ilk.runtime import cache_root

    if clear:
        print(f"{store.clear() / 1e6:,.1f} MB removed from {escaped(cache_root())}")
    else:
        used, limit = store.size() / 1e6, store.limit_bytes() / 1e6
        print(f"{used:,.1f} MB of at most {limit:,.0f} MB in {escaped(cache_root())}")
