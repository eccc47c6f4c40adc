"""`ilk serve` as a process, and clients of every kind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2


class Served:
    """``ilk serve`` on a free port.

    Parameters
    ----------
    arguments
        Of the command.
    environment : dict
    port : int
        0: any.
    """

    def __init__(self, *arguments, environment, port=0):
        self.lines: list[str] = []
        self.feedback: Path | None = None  # a fixture may say where it is kept
        self._address = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ilk", "serve", *map(str, arguments), "--port", str(port)],
            env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        assert self._address.wait(60), self.lines
        assert self.process.poll() is None, self.lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Leave no process behind, even if a test fails."""
        self.stop(signal.SIGKILL)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("Serving "):
                self.url = line.split(" at ")[1].split()[0]
                self._address.set()
        self._address.set()

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    @property
    def log(self):
        """The access log."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def post(self, path, **options):
        return httpx2.post(self.url + path, timeout=30, **options)

    def ready(self):
        try:
            return httpx2.get(f"{self.url}/v2/health/ready", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def metric(self, name):
        text = httpx2.get(f"{self.url}/metrics").text
        return sum(float(x.split()[-1]) for x in text.splitlines() if x.startswith(name))

    def memory(self):
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Stop it, and return its exit code."""
        if self.process.poll() is None:
            self.send(number)
        code = self.process.wait(60)
        self.process.stderr.close()
        return code


def connected(port):
    """Return a TCP connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def until(condition, seconds=60):
    """Wait for a condition; the bound only ends a test that would hang."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.02)


def raw(port, sent):
    """Send bytes, and return the status of the answer; 0 if the connection was closed instead."""
    with connected(port) as connection:
        try:
            connection.sendall(sent)
            answer = connection.recv(65536)
        except OSError:
            answer = b""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0


class Load:
    """Threads that send requests without a pause to whichever replica is ready, in turn.

    ``replicas`` are the URLs that the load balancer, here the test, considers ready.
    """

    def __init__(self, content, threads=4):
        self.codes = []
        self.errors = []
        self.replicas = []
        self._content = content
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self):
        with httpx2.Client(timeout=30) as client:
            while not self._ended.is_set():
                ready = list(self.replicas)
                if not ready:
                    time.sleep(0.01)
                    continue
                url = ready[len(self.codes) % len(ready)]
                try:
                    self.codes.append(
                        client.post(f"{url}/predict", content=self._content).status_code
                    )
                except httpx2.TransportError as error:
                    self.errors.append(repr(error))
