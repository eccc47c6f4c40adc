"""Remote: pictures named by a server, many at once, without overrunning it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from ilk.data.catalog import Picture
from ilk.errors import RemoteError, UsageError
from ilk.inference import Prediction

PATIENCE = 60.0  # seconds for which a busy or missing server is asked again
LONGEST_WAIT = 5.0
TIMEOUT = 60.0
BUSY = {429, 502, 503, 504}
OF_PICTURE = {400, 413, 415}  # what the server has against a picture, not against being asked


class Remote:
    """A model that a server runs, as `ilk serve` starts one.

    Parameters
    ----------
    url : str
        As ``http://host:8000``; ``?model=NAME&version=V`` behind it chooses a model.
    api_key : str
    connections : int
        Requests at once. What a busy server refuses is sent again after the time that it asks for,
        for a minute.

    Raises
    ------
    UsageError
        The address is none.
    RemoteError
        The server cannot be reached, wants another key, or has no such model.
    """

    def __init__(self, url: str, api_key: str = "", connections: int = 8) -> None:
        import httpx2

        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL("")
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise UsageError(f"--url {url}: give an address such as http://127.0.0.1:8000.")
        self._connections = connections
        self._client = httpx2.Client(
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx2.Limits(max_connections=connections),
            timeout=TIMEOUT,
            trust_env=False,
        )
        found = self._told(self._asked("GET", "/v2/models")).get("models") or [{}]
        wanted = self._url.params.get("model", found[0].get("name"))
        known = [model["classes"] for model in found if model.get("name") == wanted]
        if not known:
            raise RemoteError(f"{self._url.host} has no model '{wanted}'.")
        self.classes = tuple(known[0])

    def stream(self, pictures: Sequence[Picture], top: int = 5) -> Iterator[Prediction]:
        """Yield what the pictures are named, in order; few of them are in memory at once.

        Raises
        ------
        RemoteError
            The server does not answer any more.
        """
        waiting: deque[Future[Prediction]] = deque()
        with closing(self._client), ThreadPoolExecutor(self._connections) as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(self._named, picture, top))
                    if len(waiting) >= 2 * self._connections:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _named(self, picture: Picture, top: int) -> Prediction:
        try:
            content = picture.read()
        except OSError as error:
            return _failed(picture, f"cannot be opened: {error.strerror}")
        found = self._asked("POST", "/predict", top=top, content=content)
        if found.status_code in OF_PICTURE:
            reason = _record(found).get("detail", f"was refused with status {found.status_code}")
            return _failed(picture, reason)
        (row,) = self._told(found)["predictions"]
        return Prediction(
            picture.path,
            top=tuple((rank["label"], rank["probability"]) for rank in row["top"]),
            **{k: row[k] for k in ("label", "probability", "accepted", "unknown", "error")},
        )

    def _asked(self, method: str, path: str, content: Any = None, **parameters: Any) -> Any:
        """Ask until there is an answer.

        Raises
        ------
        RemoteError
            The server stayed busy, or could not be reached.
        """
        import httpx2

        url = self._url.copy_with(path=self._url.path.rstrip("/") + path)
        url = url.copy_merge_params(parameters)
        ends = time.monotonic() + PATIENCE
        wait = 0.1
        while True:
            try:
                found = self._client.request(method, url, content=content)
                if found.status_code not in BUSY:
                    return found
                reason = f"it answers {found.status_code}"
                asked = found.headers.get("retry-after", "")
                wait = float(asked) if asked.isdigit() else wait
            except httpx2.ConnectError as error:
                if method == "GET":  # the first thing asked: nobody is there
                    raise RemoteError(f"Nothing answers at {self._url}: {error}.") from None
                reason = str(error)
            except httpx2.TransportError as error:
                reason = str(error) or type(error).__name__
            wait = min(wait, LONGEST_WAIT)
            if time.monotonic() + wait > ends:
                raise RemoteError(f"{self._url.host} cannot be asked any more: {reason}.")
            time.sleep(wait)
            wait = 2 * wait

    def _told(self, found: Any) -> dict[str, Any]:
        """Return the record that an answer is.

        Raises
        ------
        RemoteError
            It is a refusal, or not from a server of this kind.
        """
        record = _record(found)
        if found.status_code in {200, 422} and ("predictions" in record or "models" in record):
            return record
        reason = record.get("detail") or record.get("error") or f"status {found.status_code}"
        raise RemoteError(f"{self._url.host} does not name pictures: {reason}")


def _record(found: Any) -> dict[str, Any]:
    """Return the JSON of an answer; nothing if there is none: a proxy may have answered."""
    try:
        record = found.json()
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {}


def _failed(picture: Picture, reason: str) -> Prediction:
    return Prediction(picture.path, None, None, (), error=reason)
