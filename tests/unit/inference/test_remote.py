"""A server as a client meets it: busy, behind a proxy, or against a picture."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ilk.data.catalog import Picture
from ilk.errors import RemoteError
from ilk.inference.remote import Remote

MODELS = {"models": [{"name": "m", "classes": ["cat", "dog"]}]}
ROW = {"name": "", "label": "cat", "probability": 0.9, "accepted": True, "unknown": False,
       "error": None, "top": [{"label": "cat", "probability": 0.9}]}  # fmt: skip
NAMED = (200, json.dumps({"predictions": [ROW]}))


@pytest.fixture
def answering():
    """Return ``answering(*answers)``: a client of a server that gives these to what it is sent."""
    servers = []

    def make(*answers):
        left = deque(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._tell(200, json.dumps(MODELS))

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self._tell(*left.popleft())

            def _tell(self, status, body):
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
def test_a_busy_server_is_asked_again(answering, status):
    (found,) = answering((status, "<html>"), NAMED).stream([picture()])
    assert (found.path, found.label) == ("a.jpg", "cat")


@pytest.mark.parametrize(
    "status, body, reason",
    [
        (400, '{"detail": "No picture came"}', "No picture came"),
        (413, "<html>too large</html>", "was refused with status 413"),
        (415, "[]", "was refused with status 415"),
    ],
)
def test_what_it_has_against_a_picture_does_not_end_the_others(answering, status, body, reason):
    first, second = answering((status, body), NAMED).stream([picture(), picture()])
    assert (first.label, reason in first.error) == (None, True)
    assert second.label == "cat"


def test_what_it_has_against_the_client_ends_it(answering):
    with pytest.raises(RemoteError, match="Send the API key"):
        list(answering((401, '{"detail": "Send the API key"}')).stream([picture()]))
