"""Make small files of every kind that ilk writes, for `test_stored.py` to read with later code.

    python tests/integration/stored/make_stored.py 0.1.0

writes ``0.1.0/stored.tar.xz`` and ``0.1.0/expected.json`` beside this script. It uses public names
of ilk only, so that it runs at any commit; see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import ilk
import ilk.cli

PLACE = "/stored"  # stands for the folder that the files lie in, wherever they hold its path
NEUTRAL = "/opt/"
TEXTS = (".csv", ".json", ".yaml")
CLASSES = ("bar", "cross", "ring")
EACH = 48  # pictures of a class
SIDE = 16
NETWORK = "test_efficientnet"  # timm's smallest, of 100,000 parameters
LOADING: dict[str, Any] = {"engine": "pytorch", "precision": "fp32"}  # as all processors compute it
# Of a run, what is read again; the rest (report, plots, model card) is for people.
READ_AGAIN = ("*.safetensors", "*.csv", "*.json", "*.yaml", "*.jpg")
FORMATS = {  # file: what ilk calls the format
    "model.onnx": "onnx",
    "model-int8.onnx": "onnx-int8",
    "model-openvino": "openvino",
    "model-openvino-bf16": "openvino-bf16",
    "model-openvino-int8": "openvino-int8",
    "model.torchscript": "torchscript",
    "model.pt2": "torch",
    "model-int8.pt2": "torch-int8",
    "model.pte": "executorch",
    "model-int8.pte": "executorch-int8",
    "model.mlpackage": "coreml",
    "model.tflite": "litert",
    "model-web": "web",
}
RECIPES = ("probe", "finetune", "scratch", "guide", "case-study", "digits", "cifar10")
SCRATCH: dict[str, Any] = {
    "mode": "scratch", "imgsz": SIDE, "batch": 27, "epochs": 3, "val_share": 0.25,
    "precision": "fp32", "flip": 0.5, "seed": 3,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="the folder to write; it is replaced")
    target = Path(__file__).absolute().parent / parser.parse_args().version
    runtime = Path(os.environ.get("ILK_CACHE", "nowhere")) / "web"
    with tempfile.TemporaryDirectory(prefix="stored-") as temporary:
        folder = Path(temporary) / "files"
        os.environ |= {"ILK_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        if runtime.is_dir():  # what the exported page runs by; else npm fetches it
            shutil.copytree(runtime, folder / "cache" / "web")
        expected = made(folder)
        pack(folder, target, expected)


def made(folder: Path) -> dict[str, Any]:
    """Make all files, and return what is to be found when they are read."""
    pictures, weights = folder / "pictures", folder / "weights.safetensors"
    draw_all(pictures, folder / "strange")
    runs = folder / "runs"
    scratch = {
        "model": NETWORK,
        "rates": {},
        "optimizer": "muon",
        "lr": 0.02,
        "ema": 0.5,
        **SCRATCH,
    }
    finished = ilk.train(pictures, runs=runs, name="scratch", **scratch)
    interrupted = interrupt(pictures, runs=runs, name="interrupted", **scratch)
    # Its filters stay as they begin, mostly zeros: eight megabytes that can be packed to a half.
    still = {"stage*.conv*": 0.0}
    ilk.train(
        pictures, runs=runs, name="smallnet", model="smallnet", rates=still, lr=0.1, **SCRATCH
    )
    write_weights(weights)
    probe = ilk.train(
        pictures, runs=runs, name="probe", model=NETWORK, weights=weights, imgsz=2 * SIDE,
        engine="pytorch", precision="fp32",
    )  # fmt: skip
    for name in ("smallnet", "probe"):
        run(
            "evaluate", runs / name, pictures, "--target-coverage", 0.9, "--engine", "pytorch",
            "--runs", folder / "scores", "--quick",
        )  # fmt: skip
    exported = export_all(probe.folder, folder / "exported")
    models = {
        **{name: runs / name for name in ("scratch", "smallnet", "probe")},
        "best": interrupted / "checkpoints" / "best.safetensors",
        **{name: folder / "exported" / name for name in exported},
    }
    for name in RECIPES:
        (folder / "recipes").mkdir(exist_ok=True)
        (folder / "recipes" / f"{name}.yaml").write_text(run("recipes", name))
    return {
        "made_by": {"machine": machine(), "torch": torch.__version__, "timm": version("timm")},
        "formats": exported,
        "models": {
            name: answers(path, pictures)
            for name, path in models.items()
            if exported.get(name) != "coreml"  # nothing here runs it
        },
        "training": {"model": name_of(finished.model, folder), "history": history(finished.folder)},
        "features": {"pictures": len(probe.catalog.pictures), "engine": probe.facts["engine"]},
        "feedback": give_feedback(folder, pictures),
        "quarantine": put_in_quarantine(folder),
    }


def draw_all(folder: Path, strange: Path) -> None:
    """Draw the pictures, each by its own number, and two that are like none of them."""
    strange.mkdir(parents=True)
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 2, (24, 32, 3), np.uint8)
        Image.fromarray(255 * noise).save(strange / f"{i}.png")
    for k, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True)
        for i in range(EACH):
            draw(label, 1000 * k + i).save(folder / label / f"{i:02d}.png")


def draw(label: str, seed: int) -> Image.Image:
    """Draw a bar, a cross or a ring on a grey ground, somewhere near the middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 - rng.uniform(-2, 2, (2, 1, 1))
    radius, width = rng.uniform(3.5, 6), rng.uniform(0.8, 1.6)
    far = np.hypot(x, y)
    shapes = {
        "bar": (abs(x) < width) & (abs(y) < radius),
        "cross": ((abs(x) < width) | (abs(y) < width)) & (np.maximum(abs(x), abs(y)) < radius),
        "ring": abs(far - radius) < width,
    }
    ground, ink = rng.uniform(20, 90), rng.uniform(150, 240)
    grey = np.where(shapes[label], ink, ground) + 16 * rng.integers(-1, 2, (SIDE, SIDE))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def write_weights(file: Path) -> None:
    """Write random weights of few different values, which can be packed well."""
    import timm  # possible once a training has made torchvision ready for it

    torch.manual_seed(0)
    state = timm.create_model(NETWORK, pretrained=False, num_classes=0).state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            step = 2.0 ** torch.round(torch.log2(value.std()))
            state[name] = (value / step).round() * step
    save_file({name: value.contiguous() for name, value in state.items()}, file)


def interrupt(data: Path, **changes: Any) -> Path:
    """Begin a training, and stop it in its second epoch as Ctrl-C does; return its folder."""
    stopped = False

    @contextlib.contextmanager
    def progress(what: str, total: int) -> Iterator[Any]:
        nonlocal stopped
        if what.startswith("epoch 2/"):
            stopped = True
            signal.raise_signal(signal.SIGINT)  # it takes one more step before it stops
        yield lambda number, remark="": None

    with contextlib.suppress(ilk.IlkError):
        ilk.train(data, progress=progress, **changes)
    assert stopped
    return Path(changes["runs"]) / changes["name"]


def export_all(model: Path, folder: Path) -> dict[str, str]:
    """Export a model to each format that can be written here."""
    folder.mkdir()
    done = {}
    for file, name in FORMATS.items():
        try:
            ilk.export(model, name, output=folder / file, max_drop=0.3)
        except ilk.IlkError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        done[file] = name
    for runtime in (*folder.glob("*-web/ort*"), *folder.glob("*.receipt.json")):
        runtime.unlink()  # of the page's runtime: twelve megabytes that are not ilk's
    return done


def answers(model: Path, pictures: Path) -> dict[str, Any]:
    """Return what a model says of itself and of some pictures."""
    fixed = LOADING if (model / "recipe.yaml").is_file() or model.suffix == ".safetensors" else {}
    classifier = ilk.load(model, trust=True, **fixed)
    files = [f"pictures/{label}/{i:02d}.png" for label in CLASSES for i in range(0, EACH, 6)]
    files += ["strange/0.png", "strange/1.png"]
    found = classifier.predict([pictures.parent / file for file in files])
    spec = classifier.spec
    return {
        "classes": list(spec.classes),
        "temperature": spec.temperature,
        "thresholds": spec.thresholds,
        "strange": found.novelty_threshold if spec.novelty else None,
        "imgsz": spec.preprocess.imgsz,
        "views": spec.views,
        "pictures": spec.provenance.get("pictures"),
        "scored_on": scored_on(model, pictures, fixed),
        "files": files,
        "labels": found.labels,
        "probabilities": np.round(found.probabilities.astype(float), 6).tolist(),
        "novelty": [None if np.isnan(x) else round(float(x), 4) for x in found.novelty],
        "accepted": found.accepted.tolist(),
        "unknown": found.unknown.tolist(),
    }


def scored_on(model: Path, pictures: Path, loading: dict[str, Any]) -> int | None:
    """Return how many pictures are scored unasked: those that the model did not learn from."""
    evaluation = ilk.evaluate(ilk.load(model, trust=True, **loading), pictures)
    return evaluation.n


def give_feedback(folder: Path, pictures: Path) -> list[list[str]]:
    """Correct a service; return each picture's file and its right class."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [["bar/00.png", "ring"], ["cross/01.png", "bar"], ["ring/02.png", "ring"]]
    command = [
        sys.executable, "-m", "ilk", "serve", f"shapes@2={folder / 'exported' / 'model.onnx'}",
        "--port", str(port), "--feedback", str(folder / "feedback.sqlite"),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as service:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/v2/health/ready", service)
            for file, label in given:
                httpx2.post(
                    f"{url}/feedback",
                    files={"image": (pictures / file).read_bytes()},
                    data={"label": label, "predicted": "bar"},
                    timeout=30,
                ).raise_for_status()
        finally:
            service.terminate()
    return given


def wait_for(url: str, service: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(url, timeout=2).status_code == 200:
                return
        assert service.poll() is None, "the service has ended"
        time.sleep(0.1)
    raise TimeoutError(url)


def put_in_quarantine(folder: Path) -> dict[str, Any]:
    """Check pictures of which one is a copy and one is broken, and have both moved away."""
    data = folder / "checked"
    for label in CLASSES[:2]:
        (data / label).mkdir(parents=True)
        for i in range(4):
            draw(label, 5000 + i).save(data / label / f"{i}.png")
    shutil.copy(data / "bar" / "0.png", data / "bar" / "copy.png")
    (data / "cross" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    before = digests(data)
    moved = folder / "quarantine"
    run(
        "check", data, "--quick", "--out", folder / "check", "--quarantine", moved,
        "--kinds", "unreadable,duplicate.exact", "--write-catalog", folder / "marked.csv",
    )  # fmt: skip
    gone = sorted(set(before) - set(digests(data)))
    return {"before": before, "moved": gone}


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder."""
    return {
        name_of(file, folder): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def history(run_folder: Path) -> list[list[str]]:
    """Return the table of a run's epochs, its header first."""
    return [line.split(",") for line in (run_folder / "history.csv").read_text().splitlines()]


def machine() -> str:
    """Return what the last bits of a computation depend on."""
    facts = dict(
        line.split(":", 1)
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        if ":" in line
    )
    named = {key.strip(): value.strip() for key, value in facts.items()}
    parts = [named.get(key, "?") for key in ("vendor_id", "cpu family", "model")]
    return (
        f"{' '.join(parts)}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads"
    )


def run(*arguments: object) -> str:
    """Run an ilk command, and return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = ilk.cli.run([str(argument) for argument in arguments])
    assert code == 0, (arguments, code)
    return out.getvalue()


def name_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def pack(folder: Path, target: Path, expected: dict[str, Any]) -> None:
    """Write the archive and what is expected; no file names the folder that it was made in."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    text = json.dumps(expected, indent=1).replace(str(folder), PLACE)
    (target / "expected.json").write_text(text + "\n")
    # Exporters may write where the code lies: see README.md.
    homes = [str(folder), str(Path(__file__).absolute().parents[3]), sys.prefix]
    homes = [home for home in homes if not home.startswith(NEUTRAL)]
    with tarfile.open(target / "stored.tar.xz", "w:xz", preset=9) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file() and is_kept(f, folder)):
            if file.suffix in TEXTS:
                changed = file.stat().st_mtime
                file.write_text(file.read_text().replace(str(folder), PLACE))
                os.utime(file, (changed, changed))
            named = [home for home in homes if home.encode() in file.read_bytes()]
            assert not named, f"{file} names {named}: run this from a neutral folder"
            print(f"{name_of(file, folder)}  {file.stat().st_size:,}")
            archive.add(file, name_of(file, folder), filter=nobody)
    print(f"{(target / 'stored.tar.xz').stat().st_size:,} bytes")


def is_kept(file: Path, folder: Path) -> bool:
    """Say whether a file is read again, and is not the like of another."""
    top, *rest = file.relative_to(folder).parts
    if top == "runs":
        unread = {"smallnet": not file.match("model.safetensors"),
                  "scratch": rest[1] in {"kept", "checkpoints"}}.get(rest[0], False)  # fmt: skip
        return not unread and any(file.match(pattern) for pattern in READ_AGAIN)
    if top == "cache":
        return rest[0] in {"features", "backbones"}
    return top not in {"scores", "check"}


def nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
