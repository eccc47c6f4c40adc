from __future__ import annotations

import pytest
from fastapi import HTTPException

from ilk.errors import UsageError
from ilk.serving.limits import CapacityLimiter, Limits
from ilk.serving.metrics import Metrics


@pytest.mark.parametrize(
    "limits", [{"queue": 0}, {"formats": ("HEIC",)}, {"formats": ()}, {"queue": 8, "files": 9}]
)
def test_invalid_limits_are_refused(limits):
    with pytest.raises(UsageError):
        Limits(**limits)


def test_a_limiter_refuses_what_exceeds_its_capacity_and_counts_it():
    metrics = Metrics()
    limiter = CapacityLimiter(3, metrics)
    limiter.acquire(2)
    limiter.check()
    with pytest.raises(HTTPException) as refusal:
        limiter.acquire(2)
    assert (refusal.value.status_code, refusal.value.headers["retry-after"]) == (429, "1")
    limiter.acquire()
    assert limiter.full
    with pytest.raises(HTTPException):
        limiter.check()
    assert b"ilk_shed_total 2.0" in metrics.text()
    limiter.release(3)
    assert (limiter.held, limiter.full) == (0, False)
