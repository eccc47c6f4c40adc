"""Web: a folder with a page that classifies pictures in the browser, for any static host.

The pictures never leave the browser. The network runs by onnxruntime-web on one thread of
WebAssembly: several threads would need the host to send special headers.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import EngineError, ExportError
from ilk.folder import put_in_place
from ilk.formats.base import Format
from ilk.formats.graphs import ONNX_EXPORT, ExportJob
from ilk.formats.libraries import import_optional
from ilk.formats.onnx import read_metadata, save_model
from ilk.models.bundle import SPEC_KEY
from ilk.models.metadata import OUTPUTS
from ilk.runtime import cache_dir
from ilk.spec import Spec

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# SHA-512, as npm's registry states it.
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
NETWORK, PAGE = "model.onnx", "index.html"
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PLACEHOLDER = "{{spec}}"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOAD_TIMEOUT_MS = 120_000
RUN = """async ([text, names]) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const found = await run(bytes);
    return names.map(name => [found[name].dims, [...found[name].data]]);
}"""


class Web(Format):
    """A folder: the page, the network as ONNX, and onnxruntime-web."""

    name = "web"
    suffix = "-web"
    noun = "a web page"
    contents = frozenset({PAGE, NETWORK, *RUNTIME})
    public = True
    requires = ONNX_EXPORT
    use = "python -m http.server -d {path}; the page cannot detect out-of-distribution pictures"

    def convert(self, job: ExportJob) -> Any:
        runtime_folder()  # first: it fails without npm
        return job.graph

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        path.mkdir(exist_ok=True)
        save_model(converted, path / NETWORK, metadata)
        for name in RUNTIME:
            shutil.copyfile(runtime_folder() / name, path / name)
        page = files("ilk.formats").joinpath(f"page/{PAGE}").read_text(encoding="utf-8")
        # Escaped, so that no class name can close the element that holds the JSON.
        spec = json.dumps(json.loads(metadata[SPEC_KEY])).replace("<", "\\u003c")
        (path / PAGE).write_text(page.replace(PLACEHOLDER, spec), encoding="utf-8")

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return ChromiumEngine(path)

    def metadata_of(self, path: Path) -> dict[str, str]:
        return read_metadata(path / NETWORK)

    def recognizes(self, path: Path) -> bool:
        return (path / NETWORK).is_file()


class ChromiumEngine(ChunkedEngine):
    """Runs an exported page in headless Chromium, to verify what browsers will do.

    Parameters
    ----------
    path : Path
        The folder. It is served on the loopback until the engine is closed.

    Raises
    ------
    EngineError
        Chromium or Playwright is missing.
    """

    chunk = 4  # of more, the browser's single thread would take long

    def __init__(self, path: Path) -> None:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise EngineError("There is no Chromium on this machine to run the page in.")
        self._playwright = import_optional("playwright.sync_api", "playwright")
        self._resources = ExitStack()
        # A thread of its own: Playwright's objects belong to one thread, and its synchronous
        # interface refuses a thread with a running event loop, as every notebook has.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chromium")
        try:
            self.name = self._thread.submit(self._start, browser, path).result()
        except BaseException:
            self.close()
            raise

    def _start(self, browser: str, folder: Path) -> str:
        """Open the page; return the browser's name and version."""
        url = self._resources.enter_context(_served(folder))
        driver = self._resources.enter_context(self._playwright.sync_playwright())
        # Chromium's sandbox refuses to be started by root.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        options = ["--disable-gpu", *(["--no-sandbox"] if root else [])]
        chromium = driver.chromium.launch(executable_path=browser, args=options)
        self._resources.callback(chromium.close)
        self._page = chromium.new_page()
        self._page.goto(url)
        self._page.wait_for_function("session.then(() => true)", timeout=LOAD_TIMEOUT_MS)
        return f"chromium-{chromium.version}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        text = base64.b64encode(pixels.tobytes()).decode()
        found = self._thread.submit(self._page.evaluate, RUN, [text, OUTPUTS]).result()
        return [np.array(values, np.float32).reshape(shape) for shape, values in found]

    def close(self) -> None:
        """Stop the browser and the server."""
        self._thread.submit(self._resources.close).result()
        self._thread.shutdown()


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback; yield its URL."""
    import http.server

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def runtime_folder() -> Path:
    """Return the folder with onnxruntime-web's files; npm fetches them into the cache once.

    Raises
    ------
    ExportError
        They are not in the cache, and npm cannot fetch them.
    """
    folder = cache_dir("web") / f"{PACKAGE}-{VERSION}"

    def is_whole() -> bool:
        return all((folder / name).is_file() for name in RUNTIME)

    if is_whole():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_dir("web")) as part:
        package = _fetched(Path(part))
        found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise ExportError(f"The checksum of {PACKAGE} {VERSION} from npm is wrong.")
        unpacked = Path(part) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (unpacked / name).write_bytes(member.read())
        put_in_place(unpacked, folder, is_whole)
    return folder


def _fetched(folder: Path) -> Path:
    """Have npm download the package; nothing in it is run."""
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        reason = "npm is not installed"
    except subprocess.CalledProcessError as error:
        reason = " ".join(str(error.stderr or error).split())[-200:]
    else:
        return next(folder.glob("*.tgz"))
    raise ExportError(
        f"The page needs {PACKAGE} {VERSION} from npm: {reason}. Install Node.js with npm; the "
        "first export needs to be online."
    )
