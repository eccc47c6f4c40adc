"""A server as a client meets it: busy, behind a proxy, or refusing a picture."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.errors import RemoteError
from ilk.inference.remote import Remote

MODELS = {"models": [{"name": "m", "classes": ["cat", "dog"]}]}
PREDICTION = {"name": "", "label": "cat", "probability": 0.9, "accepted": True, "unknown": False,
              "error": None, "top": [{"label": "cat", "probability": 0.9}]}  # fmt: skip
OK = (200, json.dumps({"predictions": [PREDICTION]}))


@pytest.fixture
def answering():
    """Return ``answering(*answers)``: a client of a server that gives these to what it is sent."""
    servers = []

    def make(*answers, models=MODELS):
        left = deque(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._reply(200, json.dumps(models))

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self._reply(*left.popleft())

            def _reply(self, status, body):
                self.send_response(status)
                self.send_header("retry-after", "0")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return Remote(f"http://127.0.0.1:{server.server_port}", connections=1)

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def picture(content=b"x"):
    return Picture(path="a.jpg", content=content)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_tried_again(answering, status):
    (found,) = answering((status, "<html>"), OK).stream([picture()])
    assert (found.path, found.label) == ("a.jpg", "cat")


def test_a_server_that_would_be_asked_again_at_once_is_given_time(answering, monkeypatch):
    waits = []
    monkeypatch.setattr("ilk.inference.remote.time.sleep", waits.append)
    list(answering(*[(503, "")] * 3, OK).stream([picture()]))
    assert waits == [0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    "models", [[], {"models": []}, {"models": [{"id": "m"}]}, {"models": {"m": []}},
               {"models": [{"name": "m", "classes": None}]}, {"predictions": []}],
)  # fmt: skip
def test_another_kind_of_server_is_refused(answering, models):
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1"):
        answering(models=models)


@pytest.mark.parametrize(
    "record", [{"predictions": []}, {"predictions": [{}]}, {"predictions": [PREDICTION] * 2},
               {"predictions": None}, {"predictions": ["cat"]}, {"models": []},
               {"predictions": [PREDICTION | {"top": [{"class": "cat"}]}]}],
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused(answering, record):
    with pytest.raises(RemoteError, match="not as 'ilk serve' does"):
        list(answering((200, json.dumps(record))).stream([picture()]))


@pytest.mark.parametrize(
    "status, body, reason",
    [
        (400, '{"detail": "No picture came"}', "No picture came"),
        (413, "<html>too large</html>", "was refused with status 413"),
        (415, "[]", "was refused with status 415"),
    ],
)
def test_a_refused_picture_does_not_stop_the_others(answering, status, body, reason):
    first, second = answering((status, body), OK).stream([picture(), picture()])
    assert (first.label, reason in first.error) == (None, True)
    assert second.label == "cat"


def test_a_refused_client_is_an_error(answering):
    with pytest.raises(RemoteError, match="Send the API key"):
        list(answering((401, '{"detail": "Send the API key"}')).stream([picture()]))


def test_paths_and_encoded_pictures_are_predicted_again_and_again(answering, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    remote = answering(OK, OK, OK)
    assert [p.label for p in remote.predict([tmp_path / "a.jpg", b"y"])] == ["cat", "cat"]
    assert [p.path for p in remote.predict(tmp_path)] == [str(tmp_path / "a.jpg")]


def test_what_cannot_be_sent_does_not_lose_the_others(answering):
    remote = answering(OK, OK)
    found = remote.predict([b"x", np.zeros((8, 8, 3), np.uint8), None, "x" * 5000, b"y"])
    assert [p.label for p in found] == ["cat", None, None, None, "cat"]
    assert found[1].error == "cannot be sent: a server accepts files and encoded pictures"
    assert found[2].error.startswith("is of type NoneType; give a path, encoded bytes, a file")
    assert found[3].error == "cannot be opened: File name too long"
