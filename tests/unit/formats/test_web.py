"""The engine that verifies an exported page, with a browser that only remembers its caller."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import tarfile
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from ilk.errors import EngineError
from ilk.formats import web
from ilk.formats.web import ChromiumEngine


class Browser:
    """Playwright's synchronous interface: of one thread, and of none with a running event loop."""

    def __init__(self):
        self.options = []
        self.calls = []

    @contextlib.contextmanager
    def sync_playwright(self):
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        self.thread = threading.get_ident()
        yield SimpleNamespace(chromium=self)
        self._called("stop")

    def launch(self, executable_path, args):
        self.options = args
        return SimpleNamespace(
            close=lambda: self._called("close"), new_page=lambda: self, version="1.0"
        )

    def goto(self, url):
        self._called("goto")

    def wait_for_function(self, text, timeout):
        self._called("wait")

    def evaluate(self, code, arguments):
        self._called("evaluate")
        return [[[2, 3], [0.0] * 6], [[2, 3], [0.0] * 6], [[2, 4], [0.0] * 8]]

    def _called(self, name):
        assert threading.get_ident() == self.thread
        self.calls.append(name)


@pytest.fixture
def browser(monkeypatch):
    browser = Browser()
    monkeypatch.setattr(web.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(web, "import_optional", lambda *_: browser)
    return browser


def run_page(folder):
    engine = ChromiumEngine(folder)
    outputs = engine.run(np.zeros((2, 8, 8, 3), np.uint8))
    engine.close()
    return engine.name, outputs


def test_a_page_runs_within_an_event_loop_as_in_a_notebook(browser, tmp_path):
    async def cell():
        return run_page(tmp_path)

    name, outputs = asyncio.run(cell())
    assert name == "chromium-1.0"
    assert outputs.features.shape == (2, 4)
    assert outputs.logits.shape == (2, 3)
    assert browser.calls == ["goto", "wait", "evaluate", "close", "stop"]


@pytest.mark.parametrize("user, sandbox", [(None, True), (1000, True), (0, False)])
def test_only_root_gives_up_the_sandbox(user, sandbox, browser, tmp_path, monkeypatch):
    if user is None:  # Windows
        monkeypatch.delattr(os, "geteuid", raising=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    run_page(tmp_path)
    assert ("--no-sandbox" not in browser.options) == sandbox


def test_a_page_that_does_not_load_leaves_no_browser(browser, tmp_path, monkeypatch):
    def fail(self, text, timeout):
        raise TimeoutError("it did not load")

    monkeypatch.setattr(Browser, "wait_for_function", fail)
    with pytest.raises(TimeoutError):
        ChromiumEngine(tmp_path)
    assert browser.calls == ["goto", "close", "stop"]


def test_without_a_browser_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(EngineError, match="no Chromium on this machine"):
        ChromiumEngine(tmp_path)


def test_a_runtime_that_another_process_fetched_meanwhile_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "cache_dir", lambda kind: tmp_path)
    folder = tmp_path / f"{web.PACKAGE}-{web.VERSION}"

    def fetched(place):
        folder.mkdir()
        for name in web.RUNTIME:
            (folder / name).write_text("theirs")
            (place / name).write_text("ours")
        with tarfile.open(place / "package.tgz", "w:gz") as archive:
            for name in web.RUNTIME:
                archive.add(place / name, f"package/dist/{name}")
        digest = hashlib.sha512((place / "package.tgz").read_bytes()).digest()
        monkeypatch.setattr(web, "INTEGRITY", base64.b64encode(digest).decode())
        return place / "package.tgz"

    monkeypatch.setattr(web, "_fetched", fetched)
    assert web.runtime_folder() == folder
    assert {(folder / name).read_text() for name in web.RUNTIME} == {"theirs"}
