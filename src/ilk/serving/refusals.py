"""Refusals: what a client is told instead of an answer."""

from __future__ import annotations

from starlette.responses import JSONResponse

BODY_LEFT = {408, 413, 504}


class Refusal(Exception):  # noqa: N818 -- an answer, not a fault
    """A request that gets no prediction.

    Parameters
    ----------
    status : int
        The HTTP status.
    detail : str
        Why, and what to do.
    retry_s : int, optional
        Seconds after which to try again.
    """

    def __init__(self, status: int, detail: str, retry_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_s = retry_s

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        found = {} if self.retry_s is None else {"retry-after": str(self.retry_s)}
        if self.status in BODY_LEFT:
            found["connection"] = "close"  # what is left of the body is not waited for
        return found


def too_busy() -> Refusal:
    """Return the refusal of a service that has as much work as it may let wait."""
    return Refusal(429, "Too much work is waiting; try again in a second.", retry_s=1)


def too_late(deadline_s: float) -> Refusal:
    """Return the refusal of a request whose deadline is past."""
    return Refusal(504, f"No answer within {deadline_s:g} s; the request was dropped.", retry_s=1)


def engine_failed(reason: str) -> Refusal:
    """Return the refusal of a request whose batch did not come back from the network."""
    return Refusal(503, f"The network did not answer ({reason}); try again.", retry_s=1)


def refused(refusal: Refusal, path: str) -> JSONResponse:
    """Return the answer that a refusal is, as the protocol of its path words it."""
    word = "error" if path.startswith("/v2") else "detail"
    return JSONResponse({word: refusal.detail}, refusal.status, refusal.headers)
