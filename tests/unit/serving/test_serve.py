from __future__ import annotations

import gc
import logging
import signal
import socket
import threading

import httpx2
import pytest
from PIL import Image

from ilk.errors import UsageError
from ilk.serving.serve import serve


@pytest.fixture
def answered(loaded, model, png):
    """Return ``answered(**options)``: serve, ask once, stop; return the status of the answer."""

    def run(**options):
        stop, statuses = threading.Event(), []

        def on_ready(url, _):
            def ask():
                statuses.append(httpx2.post(f"{url}/predict", content=png()).status_code)
                stop.set()

            threading.Thread(target=ask).start()

        serve([model], port=0, stop=stop, on_ready=on_ready, linger_s=0, **options)
        return statuses

    return run


def state():
    log = logging.getLogger("ilk.requests")
    return (
        Image.MAX_IMAGE_PIXELS, gc.get_threshold(), gc.get_freeze_count(),
        signal.getsignal(signal.SIGHUP), log.propagate, log.level, list(log.handlers),
    )  # fmt: skip


def test_a_process_is_left_as_it_was(answered):
    before = state()
    assert answered(pixels=1000) == [200]
    assert state() == before


def test_it_serves_outside_the_main_thread(answered):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.extend(answered()))
    thread.start()
    thread.join()
    assert statuses == [200]


def test_the_limit_of_pixels_applies(answered):
    assert answered(pixels=10) == [422]


def test_an_address_that_is_in_use_leaves_no_open_socket(loaded, model, monkeypatch):
    opened, real = [], socket.socket

    def noted(*arguments):
        opened.append(real(*arguments))
        return opened[-1]

    with real() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("ilk.serving.server.socket.socket", noted)
        with pytest.raises(UsageError, match="Cannot listen on"):
            serve([model], port=taken.getsockname()[1])
    (tried,) = opened
    assert tried.fileno() == -1


@pytest.mark.parametrize(
    "options, message",
    [({"port": 70000}, "give 0 to 65535"), ({"cors": ["shop.example"]}, "give a site such as"),
     ({"queue": 1}, "must be at least 32"), ({"formats": ("HEIC",)}, "Unknown format HEIC")],
)  # fmt: skip
def test_invalid_options_are_refused(loaded, model, options, message):
    with pytest.raises(UsageError, match=message):
        serve([model], **options)
