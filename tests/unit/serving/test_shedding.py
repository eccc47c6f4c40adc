"""Refusals at the door, over a socket: what is below the application answers."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import closing

import pytest
import uvicorn

from ilk.serving.access import Access
from ilk.serving.app import build_app
from ilk.serving.patience import patient
from ilk.serving.shedding import shedding


@pytest.fixture
def listen(make_service):
    """Return ``listen(**limits)``: a service of one picture at a time, and its port."""
    servers = []

    def make(**limits):
        service = make_service(queue=1, files=1, **limits)
        config = uvicorn.Config(
            build_app(service, Access()), port=0, http=patient(shedding(service), service.limits),
            log_config=None, access_log=False, timeout_keep_alive=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        servers.append((server, thread))
        return service, server.servers[0].sockets[0].getsockname()[1]

    yield make
    for server, thread in servers:
        server.should_exit = True
        thread.join()


def connected(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=5))


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


def test_a_full_service_refuses_and_keeps_the_connection(listen, png, caplog):
    service, port = listen()
    with caplog.at_level(logging.INFO, "ilk.requests"), connected(port) as connection:
        service.room.take(1)
        for _ in range(3):
            connection.sendall(request(png(), "X-Request-Id: mine"))
            status, headers, body = answer(connection)
            assert (status, headers["retry-after"], headers["x-request-id"]) == (429, "1", "mine")
            assert "try again" in body["detail"]
        connection.sendall(request(png(), path="/v2/models/m/infer"))
        assert "try again" in answer(connection)[2]["error"]
        service.room.leave(1)
        connection.sendall(request(png()))
        assert answer(connection)[0] == 200
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["code"] for line in lines] == [429, 429, 429, 429, 200]
    assert lines[0]["id"] == "mine"
    assert b"ilk_shed_total 4.0" in service.watch.text()


def test_what_takes_no_pictures_is_answered_though_it_is_full(listen):
    service, port = listen()
    service.room.take(1)
    with connected(port) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("more", ["Expect: 100-continue", "Connection: close"])
def test_what_needs_care_is_refused_as_well(listen, png, more):
    service, port = listen()
    service.room.take(1)
    with connected(port) as connection:
        connection.sendall(request(png(), more))
        assert answer(connection)[0] == 429


def test_requests_sent_before_an_answer_are_answered_in_turn(listen, png):
    service, port = listen()
    service.room.take(1)
    with connected(port) as connection:
        connection.sendall(request(png(), "X-Request-Id: a") + request(png(), "X-Request-Id: b"))
        assert [answer(connection)[1]["x-request-id"] for _ in range(2)] == ["a", "b"]


def test_a_refused_body_that_does_not_come_is_not_waited_for_long(listen, png):
    service, port = listen(body_s=0.3)
    service.room.take(1)
    with connected(port) as connection:
        connection.sendall(request(png())[:-1])
        assert answer(connection)[0] == 429
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 3
