"""Claims: ilk serves many times what the guide's app does, sheds what is too much, and starts soon.

Every side serves the same weights (the default backbone, trained on cats_dogs) to wrk, on the same
two cores: 32 connections that post JPEGs of about 500 x 375 as forms. ilk serves the trained model,
and its openvino-int8 export; LitServe runs the latter, in batches of up to 32. Overload comes as a
Poisson process, whatever became of earlier requests, while fewer than 512 are in flight. wrk takes
its share of the two cores; how much is said. Needs flask, gunicorn, litserve and wrk.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import _resident, arguments, headline, ilk, scratch, spread
from PIL import Image
from threadpoolctl import threadpool_limits

import ilk as package
from ilk.data.decode import decode

HERE = Path(__file__).parent
SECONDS = 15
CONNECTIONS = 32
DEADLINE = 5


def main() -> None:
    options = arguments(__doc__, rounds=3, overload=60)
    headline("Serving", "fastapi", "uvicorn", "flask", "gunicorn", "litserve")
    with scratch() as folder:
        ilk("train", str(options.data / "cats_dogs"), "--runs", str(folder), "--name", "cd")
        model = str(folder / "cd" / "model.safetensors")
        exported = package.export(model, "openvino-int8").path
        pictures = chosen(options.data / "cats_dogs", folder)
        throughput(sides(model, exported), pictures, options.rounds)
        least(exported, pictures)
        idle(exported, pictures)
        start(exported)
        overload(exported, options.overload)


def chosen(root: Path, folder: Path) -> list[str]:
    """Return paths of pictures of about 500 x 375, and list them for wrk."""
    found = []
    for path in sorted(root.rglob("*.jpg")):
        with Image.open(path) as image:
            if 170_000 < image.width * image.height < 200_000:
                found.append(str(path))
    found = found[:: max(1, len(found) // 100)]
    (folder / "pictures.txt").write_text("\n".join(found) + "\n")
    os.environ["PICTURES"] = str(folder / "pictures.txt")
    return found


@dataclass
class Side:
    """Something that serves, at a port of its own."""

    name: str
    command: list[str]
    port: int


def sides(model: str, exported: str) -> list[Side]:
    flask, litserve = (
        [sys.executable, str(HERE / f"served_{name}.py")] for name in ("flask", "litserve")
    )
    ports = [free_port() for _ in range(3)]
    gunicorn = [  # a thread each: with two, the workers stop each other
        "env", "OMP_NUM_THREADS=1", sys.executable, "-m", "gunicorn", "-w", "2",
        "-b", f"127.0.0.1:{ports[1]}", "--log-level", "error", "--timeout", "120",
        "served_flask:app",
    ]  # fmt: skip
    os.environ["PEER_MODEL"] = model
    return [
        serve("ilk serve, openvino-int8", exported),
        serve("ilk serve, the trained model", model),
        Side("the guide's Flask app", [*flask, model, str(ports[0])], ports[0]),
        Side("the same, gunicorn, 2 workers", gunicorn, ports[1]),
        Side("LitServe, openvino-int8", [*litserve, exported, str(ports[2])], ports[2]),
    ]


def serve(name: str, model: str, *more: str) -> Side:
    port = free_port()
    command = [sys.executable, "-m", "ilk", "serve", model, "--port", str(port), "--linger", "0"]
    return Side(name, [*command, *more], port)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextmanager
def running(side: Side) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a server, wait until it answers, and end it."""
    process = subprocess.Popen(
        side.command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{side.port}/predict"
    try:
        wait_for(url, process)
        yield url, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        with contextlib.suppress(ProcessLookupError):  # LitServe leaves one that never rests
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Wait until a picture is named."""
    file = io.BytesIO()
    Image.new("RGB", (500, 375)).save(file, "JPEG")
    body = (b"--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n"
            + file.getvalue() + b"\r\n--b--\r\n")  # fmt: skip
    request = urllib.request.Request(
        url, body, {"content-type": "multipart/form-data; boundary=b"}, method="POST"
    )
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(request, timeout=20).read()
            return
        time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


@dataclass
class Load:
    """What wrk saw."""

    rate: float
    errors: int
    p50: float
    p99: float


def wrk(url: str, connections: int, seconds: int) -> Load:
    done = subprocess.run(
        ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "60s", "-s",
         str(HERE / "post.lua"), url], capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, micro, errors, p50, p99 = map(float, line.split()[1:])
    return Load((requests - errors) / (micro / 1e6), int(errors), p50, p99)


def throughput(all_sides: list[Side], pictures: list[str], rounds: int) -> None:
    found: dict[str, list[Load]] = {side.name: [] for side in all_sides}
    for turn in range(rounds):
        first = turn % len(all_sides)
        for side in (*all_sides[first:], *all_sides[:first]):
            with running(side) as (url, _):
                wrk(url, CONNECTIONS, 3)
                found[side.name].append(wrk(url, CONNECTIONS, SECONDS))
    print(f"{CONNECTIONS} connections, {len(pictures)} pictures, {SECONDS} s a round, in turns.\n")
    print("| side | pictures a second | p50, ms | p99, ms | errors |")
    print("|---|---|---|---|---|")
    for name, loads in found.items():
        print(f"| {name} | {spread([x.rate for x in loads], digits=0)} | "
              f"{median(x.p50 for x in loads):.0f} | {median(x.p99 for x in loads):.0f} | "
              f"{sum(x.errors for x in loads)} |")  # fmt: skip
    print()
    ours = median(x.rate for x in found["ilk serve, openvino-int8"])
    late = median(x.p99 for x in found["ilk serve, openvino-int8"])
    for name, target in (("the guide's Flask app", 8.0), ("the same, gunicorn, 2 workers", 5.0),
                         ("LitServe, openvino-int8", 1.3)):  # fmt: skip
        ratio = ours / median(x.rate for x in found[name])
        worse = late > median(x.p99 for x in found[name])
        told = f"{ratio:.1f} times, p99 {'worse' if worse else 'no worse'}"
        fine = met(ratio >= target and not worse)
        print(f"- over {name}: {told}; target at least {target:g}: {fine}")
    print()


def least(model: str, pictures: list[str]) -> None:
    """Say how much decoding and the engine take, which no server can do without."""
    classifier = package.load(model)
    contents = [Path(path).read_bytes() for path in pictures[:96]]
    with threadpool_limits(1, "blas"):
        decoding, pixels = cpu_ms(lambda: [decode(c, classifier.spec.preprocess) for c in contents])
        pixels = np.stack(pixels)
        running, _ = cpu_ms(
            lambda: [classifier.predict_batch(pixels[i : i + 8]) for i in range(0, 96, 8)]
        )
    each, cores = (decoding + running) / 96, os.cpu_count()
    print(
        f"- decoding takes {decoding / 96:.2f} ms of a core a picture, the engine "
        f"{running / 96:.2f} (in eights): {cores} cores can answer {1000 * cores / each:.0f} a "
        "second at most, with nothing left for HTTP and for wrk"
    )


def cpu_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least processor time of five runs, in milliseconds, and what came of the last."""
    times = []
    for _ in range(5):
        began = time.process_time()
        found = work()
        times.append(1000 * (time.process_time() - began))
    return min(times), found


def idle(model: str, pictures: list[str]) -> None:
    """Compare one connection's latency with decoding and running, without a server."""
    classifier = package.load(model)
    contents = [Path(path).read_bytes() for path in pictures]
    bare, served = [], []
    with running(serve("idle", model)) as (url, _):
        for _ in range(5):  # in turns: the machine is not always equally fast
            bare.append(alone(classifier, contents))
            wrk(url, 1, 1)
            served.append(wrk(url, 1, 5).p50)
    ratio = median(served) / median(bare)
    print(
        f"- one connection, p50: {spread(served, ' ms', 1)}; decode and engine alone: "
        f"{spread(bare, ' ms', 1)}; {ratio:.2f} times; target at most 1.3: {met(ratio <= 1.3)}"
    )


def alone(classifier: package.Classifier, contents: list[bytes]) -> float:
    """Return the milliseconds that decoding and running a picture take, p50, without a server."""
    times = []
    with threadpool_limits(1, "blas"):  # as ilk serve has it
        for content in [*contents[:20], *contents]:
            began = time.perf_counter()
            classifier.predict_batch(decode(content, classifier.spec.preprocess)[None])
            times.append(1000 * (time.perf_counter() - began))
    return median(times[20:])


def start(model: str) -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        with running(serve("start", model)):
            seconds.append(time.perf_counter() - began)
    print(f"- start to first answer: {spread(seconds, ' s', 1)}; target at most 5: "
          f"{met(median(seconds) <= 5)}")  # fmt: skip


def overload(model: str, seconds: int) -> None:
    """Send twice and five times what it can take, at a fixed rate."""
    print("\n| sent | good a second | of capacity | p99 of those, ms | refused (429), p50 | "
          "others | wrk's share of the cores | memory, MB, before and after |\n"
          "|---|---|---|---|---|---|---|---|")  # fmt: skip
    verdicts = []
    with running(serve("overload", model, "--deadline", str(DEADLINE))) as (url, process):
        wrk(url, 64, 5)
        capacity = wrk(url, 64, 15).rate
        print(f"| as much as it takes, 64 in flight | {capacity:.0f} | 100 % | | | | | |")
        for times in (2, 5):
            before = _resident(process.pid) / 1e6
            found = flood(url, times * capacity, seconds)
            after = _resident(process.pid) / 1e6
            good, late = len(found.good) / seconds, percentile(found.good, 0.99)
            share = f"{100 * good / capacity:.0f} %"
            sent = f"{times} times: {found.sent / seconds:.0f} a second"
            refused = f"{found.refused:,}, {percentile(found.refusals, 0.5):.1f} ms"
            print(f"| {sent} | {good:.0f} | {share} | {late:.0f} | {refused} | {found.others} | "
                  f"{100 * found.generator:.0f} % | {before:.0f}, {after:.0f} |")  # fmt: skip
            fine = met(good >= 0.9 * capacity and late <= 1000 * DEADLINE)
            verdicts.append(
                f"- {times} times capacity: goodput {share}, p99 {late:.0f} ms (deadline "
                f"{DEADLINE} s); target at least 90 %: {fine}"
            )
    print()
    print("\n".join(verdicts))


@dataclass
class Flood:
    """What became of requests that came at times of their own; times are in milliseconds."""

    good: list[float]
    refusals: list[float]
    others: int
    generator: float
    """The share of the processor that sending took."""

    @property
    def refused(self) -> int:
        return len(self.refusals)

    @property
    def sent(self) -> int:
        return len(self.good) + self.refused + self.others


def flood(url: str, rate: float, seconds: int) -> Flood:
    used = children_seconds()
    with tempfile.NamedTemporaryFile("r") as answers:
        subprocess.run(
            ["wrk", "-t", "1", "-c", "512", "-d", f"{seconds}s", "--timeout", "60s", "-s",
             str(HERE / "overload.lua"), url], capture_output=True, check=True,
            env=os.environ | {"RATE": str(rate), "ANSWERS": answers.name},
        )  # fmt: skip
        used = children_seconds() - used
        rows = [line.split() for line in answers]
    good, refusals = ([float(ms) for status, ms in rows if status == code]
                      for code in ("200", "429"))  # fmt: skip
    others = len(rows) - len(good) - len(refusals)
    return Flood(good, refusals, others, used / seconds / os.cpu_count())


def children_seconds() -> float:
    """Return the processor time of what was started and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def percentile(values: Sequence[float], share: float) -> float:
    return (
        sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")
    )


def median(values) -> float:
    return statistics.median(values)


def met(fine: bool) -> str:
    return "met" if fine else "**missed**"


if __name__ == "__main__":
    main()
