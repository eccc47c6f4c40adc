"""The page that ``ilk export --format web`` writes, in a real browser: Debian's chromium."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

RUNTIME = Path(sys.prefix) / "cache" / "web"  # 'make setup' has npm fetch it
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RUNTIME.is_dir(), reason="needs onnxruntime-web, fetched by npm"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(browser, ilk, environment, trained, tmp_path_factory):
    assert browser  # or skipped
    shutil.copytree(RUNTIME, Path(environment["ILK_CACHE"]) / "web", dirs_exist_ok=True)
    target = tmp_path_factory.mktemp("web") / "page"
    receipt = json.loads(
        ilk("export", trained.model, "--format", "web", "--output", target, "--json").stdout
    )
    assert receipt["executed"], receipt["reason"]
    assert receipt["runs_in"].startswith("chromium-")
    assert receipt["max_probability_difference"] < 1e-3
    return target


@pytest.fixture(scope="module")
def served(folder):
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", [400, 1400])
def test_pictures_are_named_in_the_browser_as_by_ilk(
    width, browser, served, tiny, ilk, trained, tmp_path
):
    tiny.folder(tmp_path, 2)
    pictures = sorted(str(p) for p in tmp_path.rglob("*.??g"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(served)
    page.wait_for_function("document.getElementById('status').textContent === 'Ready.'")
    page.set_input_files("#files", [*pictures, str(broken)])
    page.wait_for_function("document.getElementById('status').textContent.includes(' named')")
    items = page.locator("#answers li").all()
    found = {
        item.locator(".name").inner_text(): item.locator(".answer").text_content() for item in items
    }
    assert found.pop("broken.png") == "cannot be read as a picture"
    told = [json.loads(line) for line in
            ilk("predict", trained.model, *pictures, "--json").stdout.splitlines()]  # fmt: skip
    assert len(told) == len(pictures)
    assert found == {Path(row["path"]).name: row["label"] for row in told}
    assert [url for url in asked if not url.startswith((served, "blob:"))] == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_opened_from_the_disk_it_says_what_to_do(browser, folder):
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.wait_for_function("document.getElementById('status').textContent.includes('http.server')")
