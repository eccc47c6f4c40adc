"""What clients see on a socket: timeouts, early refusals, bodies that arrive slowly."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
import uvicorn

from ilk.serving.app import build_app
from ilk.serving.middleware import AccessPolicy
from ilk.serving.uvicorn_protocol import MAX_HEADER_BYTES, http_protocol

KEEP_ALIVE_S = 1


class Listening:
    """A service on a port; ``seen`` holds the paths of requests that reached the application."""

    def __init__(self, service):
        self.service, self.seen = service, []
        app = build_app(service, AccessPolicy())

        async def watched(scope, receive, send):
            if scope["type"] == "http":
                self.seen.append(scope["path"])
            await app(scope, receive, send)

        config = uvicorn.Config(
            watched, port=0, http=http_protocol(service), log_config=None, access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self):
        self._thread.start()
        until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def shared(shared_service):
    with Listening(shared_service) as listening:
        yield listening


@pytest.fixture
def usual(shared):
    """Return the service with the usual limits, its port, and the paths seen; shared by tests."""
    shared.seen.clear()
    return shared.service, shared.port, shared.seen


@pytest.fixture
def listen(make_service):
    """Return ``listen(**limits)``: a service of its own, its port, and the paths seen."""
    with ExitStack() as stack:

        def make(**limits):
            found = stack.enter_context(Listening(make_service(**limits)))
            return found.service, found.port, found.seen

        yield make


@pytest.fixture
def full(listen):
    """A service for one picture at a time, which is full."""
    service, port, seen = listen(queue=1, files=1)
    service.queue.acquire()
    return service, port, seen


@pytest.fixture
def held(classifier):
    """Return an event: the network runs only while it is set."""
    gate, run = threading.Event(), classifier.engine.run
    classifier.engine.run = lambda pixels: gate.wait(10) and run(pixels)
    gate.set()
    yield gate
    gate.set()


def connected(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=30))


def request(body, *lines, path="/predict"):
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answer(connection):
    """Read one answer: its status, headers, and body."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(1) or pytest.fail(f"the connection ended after {found!r}")
    first, *lines = found.decode().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    length = int(headers["content-length"])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(first.split()[1]), headers, json.loads(body)


def is_closed(connection):
    """Wait until the server closes the connection; the socket's timeout bounds it."""
    return connection.recv(1) == b""


def until(condition):
    while not condition():
        time.sleep(0.005)


def test_a_full_service_refuses_before_the_application_and_keeps_the_connection(full, png, caplog):
    service, port, seen = full
    with caplog.at_level(logging.INFO, "ilk.requests"), connected(port) as connection:
        for _ in range(3):
            connection.sendall(request(png(), "X-Request-Id: mine"))
            status, headers, body = answer(connection)
            assert (status, headers["retry-after"], headers["x-request-id"]) == (429, "1", "mine")
            assert "try again" in body["detail"]
        connection.sendall(request(png(), path="/v2/models/m/infer"))
        assert "try again" in answer(connection)[2]["error"]
        assert seen == []
        service.queue.release()
        connection.sendall(request(png()))
        assert answer(connection)[0] == 200
        until(lambda: len(caplog.records) == 5)
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["code"] for line in lines] == [429, 429, 429, 429, 200]
    assert lines[0]["id"] == "mine"
    metrics = service.metrics.text()
    assert b"ilk_shed_total 4.0" in metrics
    assert b'ilk_requests_total{code="429",route="/predict"} 3.0' in metrics
    assert b'ilk_requests_total{code="429",route="/v2/models/{name}/infer"} 1.0' in metrics


def test_a_full_service_answers_requests_without_pictures(full):
    with connected(full[1]) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 200


@pytest.mark.parametrize(
    "more", ["Expect: 100-continue", "Connection: close", "Origin: http://x", "X: y"]
)
def test_requests_that_need_more_care_are_refused_by_the_application(full, png, more):
    _, port, seen = full
    with connected(port) as connection:
        connection.sendall(request(png(), more))
        assert answer(connection)[0] == 429
    assert seen == ([] if more == "X: y" else ["/predict"])


def test_requests_sent_before_an_answer_are_answered_in_turn(listen, held, png):
    service, port, _ = listen(queue=1, files=1)
    held.clear()
    with connected(port) as connection:
        connection.sendall(request(png(), "X-Request-Id: a") + request(png(), "X-Request-Id: b"))
        until(lambda: service.queue.full)
        connection.sendall(request(png(), "X-Request-Id: c"))
        held.set()
        found = [answer(connection) for _ in range(3)]
    assert [headers["x-request-id"] for _, headers, _ in found] == ["a", "b", "c"]
    assert found[0][0] == 200


def test_the_server_does_not_wait_forever_for_a_refused_body(listen, png):
    service, port, _ = listen(queue=1, files=1, body_s=0.3)
    service.queue.acquire()
    with connected(port) as connection:
        connection.sendall(request(png())[:-1])
        assert answer(connection)[0] == 429
        assert is_closed(connection)


@pytest.mark.parametrize("sent", [b"\r\n", b"half", b"whole"])
def test_an_answered_connection_is_closed_unless_more_arrives(listen, png, sent):
    _, port, _ = listen(body_s=0.3)
    with connected(port) as connection:
        whole = request(png(), path="/predict?model=none")  # answered before its body
        head, _, body = whole.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert answer(connection)[0] == 404
        connection.sendall({b"half": body[:50], b"whole": body}.get(sent, body + sent))
        assert is_closed(connection)


def test_a_connection_is_kept_if_the_answer_came_before_the_body(usual, png):
    _, port, _ = usual
    with connected(port) as connection:
        for _ in range(2):
            connection.sendall(request(png(), path="/predict?model=none"))
            assert answer(connection)[0] == 404
        connection.sendall(request(png()))
        assert answer(connection)[0] == 200


def test_the_headers_of_many_requests_in_one_go_are_not_counted_together(usual):
    number = 200
    filler = "a" * (2 * MAX_HEADER_BYTES // number)
    one = f"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX: {filler}\r\n\r\n".encode()
    with connected(usual[1]) as connection:
        sending = threading.Thread(target=connection.sendall, args=(number * one,))
        sending.start()
        assert {answer(connection)[0] for _ in range(number)} == {200}
        sending.join()


@pytest.mark.parametrize("deadline_s, body_s, status", [(0.3, 9, 504), (9, 0.3, 408)])
def test_a_body_that_does_not_arrive_is_answered_at_its_timeout_or_at_the_deadline(
    listen, png, deadline_s, body_s, status
):
    _, port, _ = listen(deadline_s=deadline_s, body_s=body_s)
    with connected(port) as connection:
        connection.sendall(request(png())[:-1])
        assert answer(connection)[0] == status


def test_the_deadline_counts_from_the_first_byte(listen, png):
    _, port, _ = listen(deadline_s=0.3)
    whole = request(png())
    with connected(port) as connection:
        connection.sendall(whole[:1])
        time.sleep(0.5)  # past the deadline before the rest is sent
        connection.sendall(whole[1:])
        assert answer(connection)[0] == 504


def test_a_reload_does_not_lose_a_request_whose_body_is_arriving(listen, png):
    service, port, _ = listen()
    with connected(port) as connection:
        whole = request(png())
        connection.sendall(whole[:-5])
        time.sleep(0.1)
        service.models.load()
        connection.sendall(whole[-5:])
        assert answer(connection)[0] == 200


def test_a_reload_while_the_network_hangs_frees_the_queue(listen, png, monkeypatch, held):
    monkeypatch.setattr("ilk.serving.registry.MIN_STALL_S", 0.3)
    service, port, _ = listen()
    held.clear()
    with connected(port) as connection:
        connection.sendall(request(png()))
        until(lambda: service.queue.held == 1)
        reloading = threading.Thread(target=service.models.load)
        reloading.start()  # its warm-up waits for the network as well
        assert answer(connection)[0] == 503
        until(lambda: service.queue.held == 0)
        held.set()
        reloading.join()


def test_a_client_that_leaves_frees_its_place_in_the_queue(listen, held, png):
    service, port, _ = listen()
    held.clear()
    with connected(port) as first:
        first.sendall(request(png()))
        until(lambda: service.queue.held == 1)
        time.sleep(0.1)  # its batch has begun
        with connected(port) as second:
            second.sendall(request(png(1)))
            until(lambda: service.queue.held == 2)
        until(lambda: service.queue.held == 1)
        held.set()
        assert answer(first)[0] == 200


UPGRADES = [
    ("Connection: Upgrade", "Upgrade: anything"),
    ("Upgrade: websocket", "Connection: keep-alive, Upgrade"),
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
]
INNER = b"GET /v2/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: inner\r\n\r\n"


def chunked(body, *lines):
    head = ["POST /predict HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *lines]
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:half], body[half:], b""))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunks


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("made", [request, chunked])
@pytest.mark.parametrize("pause", ["none", "after the head", "within the head", "within the body"])
def test_a_body_behind_an_upgrade_is_the_body(usual, png, upgrade, made, pause):
    _, port, seen = usual
    whole = made(png(), "X-Request-Id: outer", *upgrade)
    head = whole.index(b"\r\n\r\n") + 4
    at = {"none": len(whole), "after the head": head, "within the head": head - 20}.get(
        pause, head + 30
    )
    with connected(port) as connection:
        for part in (whole[:at], whole[at:]):
            connection.sendall(part)
            time.sleep(0.05)
        status, headers, _ = answer(connection)
        assert (status, headers["x-request-id"]) == (200, "outer")
        connection.sendall(INNER)  # the connection goes on
        assert answer(connection)[1]["x-request-id"] == "inner"
    assert seen == ["/predict", "/v2/models"]


@pytest.mark.parametrize("pause", [0, 0.1])
def test_a_body_that_looks_like_a_request_is_a_body(usual, pause):
    _, port, seen = usual
    with connected(port) as connection:
        head, _, body = request(INNER, *UPGRADES[0]).partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        time.sleep(pause)
        connection.sendall(body)
        assert answer(connection)[0] == 422
        connection.sendall(INNER)
        assert answer(connection)[1]["x-request-id"] == "inner"
    assert seen == ["/predict", "/v2/models"]


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_requests_behind_one_that_asks_for_an_upgrade_are_answered_in_turn(usual, png, upgrade):
    _, port, seen = usual
    first = "\r\n".join(["GET /v2 HTTP/1.1", "Host: x", *upgrade]).encode() + b"\r\n\r\n"
    with connected(port) as connection:
        connection.sendall(2 * first + request(png(), *upgrade) + INNER)
        assert [answer(connection)[0] for _ in range(4)] == [200] * 4
    assert seen == ["/v2", "/v2", "/predict", "/v2/models"]


def test_a_full_service_refuses_what_asks_for_an_upgrade_and_keeps_the_connection(full, png):
    with connected(full[1]) as connection:
        for _ in range(2):
            connection.sendall(request(png(), *UPGRADES[0]))
            assert answer(connection)[0] == 429
    assert full[2] == []


def test_an_upgrade_in_a_trailer_changes_nothing(usual, png):
    _, port, seen = usual
    whole = chunked(png(), "Connection: Upgrade")[:-2] + b"Upgrade: foo\r\n\r\n"
    with connected(port) as connection:
        connection.sendall(whole + INNER)
        assert [answer(connection)[0] for _ in range(2)] == [200, 200]
    assert seen == ["/predict", "/v2/models"]


def test_the_deadline_of_what_asks_for_an_upgrade_counts_from_the_first_byte(listen, png):
    _, port, _ = listen(deadline_s=0.3)
    whole = request(png(), *UPGRADES[0])
    with connected(port) as connection:
        connection.sendall(whole[:1])
        time.sleep(0.5)  # past the deadline before the rest is sent
        connection.sendall(whole[1:])
        assert answer(connection)[0] == 504


@pytest.mark.parametrize("body", [b"", INNER])
def test_a_tunnel_is_refused_and_the_connection_ends(usual, body):
    _, port, seen = usual
    with connected(port) as connection:
        connection.sendall(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + body)
        found = b""
        while more := connection.recv(9999):
            found += more
    assert found.startswith(b"HTTP/1.1 400")
    assert found.count(b"HTTP/1.1") == 1
    assert seen == []
