"""Remote: pictures classified by a server, many at once, without overloading it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ilk.data.catalog import Picture
from ilk.data.inputs import pictures_of
from ilk.errors import DecodeError, RemoteError, UsageError
from ilk.inference.predictions import Prediction

if TYPE_CHECKING:
    import httpx2

RETRY_S = 60.0  # for how long a busy or unreachable server is tried again
MAX_WAIT_S = 5.0  # between two attempts
TIMEOUT_S = 60.0
BUSY = {429, 502, 503, 504}
MALFORMED = (IndexError, KeyError, TypeError, ValueError)  # raised by JSON of another shape
BAD_PICTURE = {400, 413, 415}  # statuses that concern one picture, not the client


class Remote:
    """A model on a server that was started with `serve`.

    A request that a busy server refuses is repeated, after the time that the server asks for, for
    up to a minute.

    Parameters
    ----------
    url : str
        As ``http://host:8000``; append ``?model=NAME&version=V`` to choose a model.
    api_key : str
        The key that the server requires; empty: none.
    connections : int
        The most requests at once.

    Attributes
    ----------
    classes : tuple of str
        The names of the model's classes.

    Raises
    ------
    UsageError
        The URL is not valid.
    RemoteError
        The server cannot be reached, requires another key, or has no such model.
    """

    def __init__(self, url: str, api_key: str = "", connections: int = 8) -> None:
        import httpx2

        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL:
            self._url = httpx2.URL("")
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise UsageError(f"--url {url}: give a URL such as http://127.0.0.1:8000.")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._connections = connections
        with self._connect() as client:
            record = self._json(self._request(client, "GET", "/v2/models"))
        try:
            classes = {model["name"]: tuple(model["classes"]) for model in record["models"]}
        except MALFORMED:
            raise self._foreign() from None
        if not classes:
            raise RemoteError(f"{self._url.host} is still loading its models; try again.")
        wanted = self._url.params.get("model", next(iter(classes)))
        if wanted not in classes:
            raise RemoteError(f"{self._url.host} has no model '{wanted}'.")
        self.classes = classes[wanted]

    def predict(self, pictures: Any, *, top: int = 5) -> list[Prediction]:
        """Predict the classes of pictures.

        Parameters
        ----------
        pictures : path, folder, bytes, or a list or Catalog of them
            Bytes are an encoded picture.
        top : int
            How many of the most probable classes to return.

        Returns
        -------
        list of Prediction
            A picture that cannot be read has an error; the others are not affected.

        Raises
        ------
        RemoteError
            The server no longer answers.
        """
        return list(self.stream(pictures_of(pictures), top))

    def stream(self, pictures: Sequence[Picture], top: int = 5) -> Iterator[Prediction]:
        """Yield predictions in the order of the pictures; only a few pictures are in memory.

        Parameters
        ----------
        pictures : sequence of Picture
        top : int
            How many of the most probable classes to return.

        Raises
        ------
        RemoteError
            The server no longer answers.
        """
        waiting: deque[Future[Prediction]] = deque()
        with self._connect() as client, ThreadPoolExecutor(self._connections) as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(self._predict, client, picture, top))
                    if len(waiting) >= 2 * self._connections:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _connect(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            headers=self._headers,
            limits=httpx2.Limits(max_connections=self._connections),
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def _predict(self, client: httpx2.Client, picture: Picture, top: int) -> Prediction:
        try:
            content = picture.read()
        except OSError as error:
            return _failed(picture, f"cannot be opened: {error.strerror}")
        except DecodeError as error:
            return _failed(picture, str(error))
        if not isinstance(content, bytes):
            return _failed(picture, "cannot be sent: a server accepts files and encoded pictures")
        response = self._request(client, "POST", "/predict", content, top=top)
        if response.status_code in BAD_PICTURE:
            refused = f"was refused with status {response.status_code}"
            return _failed(picture, _record(response).get("detail", refused))
        record = self._json(response)
        try:
            (row,) = record["predictions"]
            return Prediction(
                picture.path,
                top=tuple((rank["label"], rank["probability"]) for rank in row["top"]),
                **{k: row[k] for k in ("label", "probability", "accepted", "unknown", "error")},
            )
        except MALFORMED:
            raise self._foreign() from None

    def _request(
        self,
        client: httpx2.Client,
        method: str,
        path: str,
        content: bytes | None = None,
        **parameters: Any,
    ) -> httpx2.Response:
        """Send a request, again and again while the server is busy.

        Raises
        ------
        RemoteError
            The server stayed busy, or could not be reached.
        """
        import httpx2

        url = self._url.copy_with(path=self._url.path.rstrip("/") + path)
        url = url.copy_merge_params(parameters)
        ends = time.monotonic() + RETRY_S
        wait = 0.1
        while True:
            try:
                response = client.request(method, url, content=content)
                if response.status_code not in BUSY:
                    return response
                reason = f"it answers {response.status_code}"
                asked = response.headers.get("retry-after", "")
                if asked.isdecimal() and int(asked):  # after 0 seconds it would be as busy
                    wait = float(asked)
            except httpx2.ConnectError as error:
                if method == "GET":  # the first request: there is no server
                    raise RemoteError(f"No server answers at {self._url}: {error}.") from None
                reason = str(error)
            except httpx2.TransportError as error:
                reason = str(error) or type(error).__name__
            wait = min(wait, MAX_WAIT_S)
            if time.monotonic() + wait > ends:
                raise RemoteError(f"{self._url.host} no longer answers: {reason}.")
            time.sleep(wait)
            wait = 2 * wait

    def _foreign(self) -> RemoteError:
        return RemoteError(
            f"{self._url.host} answers, but not as 'ilk serve' does; give the URL of such a server."
        )

    def _json(self, response: httpx2.Response) -> dict[str, Any]:
        """Return the record in a response.

        Raises
        ------
        RemoteError
            It is a refusal, or does not come from `serve`.
        """
        record = _record(response)
        if response.status_code in {200, 422} and ("predictions" in record or "models" in record):
            return record
        reason = record.get("detail") or record.get("error") or f"status {response.status_code}"
        raise RemoteError(f"{self._url.host} does not classify pictures: {reason}")


def _record(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object in a response; empty if there is no object, as from a proxy."""
    try:
        record = response.json()
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {}


def _failed(picture: Picture, reason: str) -> Prediction:
    return Prediction(picture.path, None, None, (), error=reason)
