"""The web engine: runs an exported page in headless Chromium, to verify what browsers will do."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines import onnxruntime
from ilk.engines.needs import needed
from ilk.engines.pieces import PieceEngine
from ilk.errors import EngineError
from ilk.spec import Spec

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120_000  # milliseconds for the page to load its network
RUN = """async text => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const found = await run(bytes);
    return ["probabilities", "logits", "features"].map(
        name => [found[name].dims, [...found[name].data]]);
}"""


class WebEngine(PieceEngine):
    """Runs the page of an exported folder, served on the loopback; close it when done.

    Parameters
    ----------
    path : Path
    spec : Spec

    Raises
    ------
    EngineError
        There is no browser, or playwright to drive it with.
    """

    piece = 4  # a browser's one thread takes a while

    def __init__(self, path: Path, spec: Spec) -> None:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise EngineError("There is no Chromium here to run the page in.")
        playwright = needed("playwright.sync_api", "playwright")
        with ExitStack() as stack:
            url = stack.enter_context(_served(path))
            driver = stack.enter_context(playwright.sync_playwright())
            # Chromium's sandbox refuses to be started by root.
            options = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            chromium = driver.chromium.launch(executable_path=browser, args=options)
            stack.callback(chromium.close)
            self._page = chromium.new_page()
            self._page.goto(url)
            self._page.wait_for_function("session.then(() => true)", timeout=PATIENCE)
            self._held = stack.pop_all()
        self.name = f"chromium-{chromium.version}"

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
        found = self._page.evaluate(RUN, base64.b64encode(pixels.tobytes()).decode())
        return [np.array(values, np.float32).reshape(shape) for shape, values in found]

    def close(self) -> None:
        """Stop the browser and the server."""
        self._held.close()


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def metadata_of(path: Path) -> dict[str, str]:
    """Return what stands in the metadata of the page's network. Nothing of it is run."""
    return onnxruntime.metadata_of(path / "model.onnx")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
