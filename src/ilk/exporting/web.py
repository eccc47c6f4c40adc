"""Web: a folder whose page names pictures in the browser; any host of static files will do.

The pictures never leave the browser. The network runs by onnxruntime-web, on one thread of
WebAssembly, since several would ask the host for special headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ilk.errors import ExportError
from ilk.exporting import onnx
from ilk.exporting.job import Job
from ilk.models.bundle import SPEC_KEY
from ilk.runtime import cache_dir

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# SHA-512, as npm's registry states it.
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PLACEHOLDER = "{{spec}}"


def convert(job: Job) -> Any:
    """Return the network as ONNX; the runtime is made ready too.

    Raises
    ------
    ExportError
        npm is not there to fetch the runtime.
    """
    runtime_folder()
    return job.graph


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the folder: the page, the network, the runtime."""
    path.mkdir(exist_ok=True)
    onnx.save(model, path / "model.onnx", metadata)
    for name in RUNTIME:
        shutil.copyfile(runtime_folder() / name, path / name)
    page = files("ilk.exporting").joinpath("page/index.html").read_text(encoding="utf-8")
    spec = json.loads(metadata[SPEC_KEY])
    (path / "index.html").write_text(page.replace(PLACEHOLDER, _in_html(spec)), encoding="utf-8")


def _in_html(record: Any) -> str:
    """Return JSON that cannot end the element that it stands in."""
    return json.dumps(record).replace("<", "\\u003c")


def runtime_folder() -> Path:
    """Return the folder with onnxruntime-web's files, from the cache where it lies already.

    Raises
    ------
    ExportError
        It does not, and npm cannot fetch it.
    """
    folder = cache_dir("web") / f"{PACKAGE}-{VERSION}"
    if all((folder / name).is_file() for name in RUNTIME):
        return folder
    with tempfile.TemporaryDirectory(dir=cache_dir("web")) as part:
        package = _fetched(Path(part))
        found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise ExportError(f"{PACKAGE} {VERSION} is not what npm's registry says it is.")
        unpacked = Path(part) / "unpacked"
        unpacked.mkdir()
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (unpacked / name).write_bytes(member.read())
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    return folder


def _fetched(folder: Path) -> Path:
    """Have npm fetch the package; nothing in it is run."""
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        told = "npm is not installed"
    except subprocess.CalledProcessError as error:
        told = " ".join(str(error.stderr or error).split())[-200:]
    else:
        return next(folder.glob("*.tgz"))
    raise ExportError(
        f"The page needs {PACKAGE} {VERSION}, which npm would fetch: {told}. Install Node.js with "
        "npm, and be online once."
    )
