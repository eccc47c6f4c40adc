"""Being written."""

from __future__ import annotations

from typing import Any


def out_of_fold(*args: Any, **kwargs: Any) -> Any:
    """Say nothing yet."""
    return None
