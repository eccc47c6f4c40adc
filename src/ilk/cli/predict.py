"""``ilk predict``."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ilk.cli.console import Count, print_json, print_left_out, say
from ilk.cli.running import DEFAULT, Running, key_from
from ilk.errors import UsageError
from ilk.inference.classifier import model_file
from ilk.inference.predictions import Prediction, Predictions
from ilk.progress import heartbeat
from ilk.runtime import Progress
from ilk.text import escaped, pluralize

if TYPE_CHECKING:
    from ilk.data.catalog import Picture
    from ilk.inference.remote import Remote

SOME_UNREADABLE = 3
WIDEST = 30
BATCH = 32
CONNECTIONS = 8
Show = Callable[[Prediction], None]
Writer = Callable[[tuple[str, ...], int], Show]


def predict(
    model: str,
    paths: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)] = (),
    /,
    *,
    top: Count = 1,
    explain: Path | None = None,
    json: bool = False,
    csv: bool = False,
    batch: Count = BATCH,
    workers: Count | None = None,
    max_pixels: Count | None = None,
    url: str | None = None,
    connections: Count | None = None,
    api_key_file: Path | None = None,
    running: Running = DEFAULT,
) -> int:
    """Classify the pictures in files and folders.

    A picture that cannot be read gets a row with the reason, and the exit code is 3.

    Parameters
    ----------
    model
        A model.safetensors, the run folder that holds it, or an exported file. Left out with
        --url.
    paths
        Files, folders, patterns such as 'photos/**/*.jpg', or - to read a list from stdin.
    top
        Show this many classes per picture.
    explain
        A folder for pictures with heat maps of the regions that support the prediction.
    json
        Print one line of JSON per picture.
    csv
        Print comma-separated values.
    batch
        Batch size.
    workers
        Decoding threads; default: one per core.
    max_pixels
        The most pixels of a picture; larger ones are not read.
    url
        Use a server that 'ilk serve' started: http://127.0.0.1:8000, or with
        ?model=NAME&version=V appended. Give no MODEL then.
    connections
        Concurrent requests to the server; default: 8. Requests that it rejects as too many are
        retried.
    api_key_file
        A file with the server's API key; or set ILK_API_KEY.
    """
    import ilk
    from ilk.data.folders import find_pictures
    from ilk.data.limits import pixel_limit

    if url and model_file(Path(model)).suffix in {".safetensors", ".onnx"}:
        raise UsageError(f"With --url the server has the model: leave {escaped(model)} out.")
    given = [model, *paths] if url else list(paths)
    flags = [p for p in given if p.startswith("-") and p != "-" and not os.path.exists(p)]  # noqa: PTH110 -- any length
    if flags:
        raise UsageError(f"Unknown option: {flags[0]}. See 'ilk predict --help'.")
    if not given:
        raise UsageError("Give pictures after the model: ilk predict MODEL photos/.")
    if not url and (connections is not None or api_key_file is not None):
        raise UsageError("--connections and --api-key-file do not apply without --url.")
    if json and csv:
        raise UsageError("Give --json or --csv, not both.")
    stdin = sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if "-" in given else ""
    writer = _json_writer if json else _csv_writer if csv else _text_writer
    if url:
        _refuse_local(explain, batch, workers, max_pixels, running)
    with (
        pixel_limit(max_pixels),
        heartbeat("classifying", with_bars=not sys.stdout.isatty()) as progress,
    ):
        found = find_pictures(given, stdin)
        print_left_out(found.left_out)
        pictures = list(found.pictures)
        if not pictures:
            raise UsageError(f"No pictures in {', '.join(escaped(p) for p in given)}.")
        if url:
            remote = ilk.Remote(url, key_from(api_key_file), connections or CONNECTIONS)
            failed = _by_server(remote, pictures, writer(remote.classes, top), top, progress)
        else:
            classifier = running.load(Path(model))
            if explain:
                classifier.weights_file()  # fail before the work begins
            show = writer(classifier.classes, top)
            parts = classifier.stream(pictures, batch=batch, workers=workers)
            failed, named = _classified(parts, pictures, show, top, progress)
            if explain:
                files = ilk.save_explanations(
                    classifier,
                    [picture for picture, _ in named],
                    [label for _, label in named],
                    explain,
                    workers=workers,
                    progress=progress,
                )
                say(f"Wrote {pluralize(len(files), 'picture')} to {escaped(explain)}")
    if failed:
        say(f"{failed:,} of {len(pictures):,} pictures could not be read.")
    return SOME_UNREADABLE if failed else 0


def _classified(
    parts: Iterable[Predictions], pictures: list[Picture], show: Show, top: int, progress: Progress
) -> tuple[int, list[tuple[Picture, str]]]:
    """Show predictions as they come; return how many failed, and the others with their labels."""
    failed = 0
    named: list[tuple[Picture, str]] = []
    waiting = iter(pictures)
    with progress("classifying", len(pictures)) as tick:
        for part in parts:
            for i in range(len(part)):
                picture, prediction = next(waiting), part.at(i, top)
                show(prediction)
                if prediction.label is not None:
                    named.append((picture, prediction.label))
            failed += len(part.errors)
            tick(len(part))
    return failed, named


def _refuse_local(
    explain: Path | None,
    batch: int,
    workers: int | None,
    max_pixels: int | None,
    running: Running,
) -> None:
    if explain or workers or max_pixels or batch != BATCH or running != DEFAULT:
        raise UsageError(
            "--explain, --batch, --workers, --max-pixels, --device, --engine, --precision and "
            "--trust do not apply with --url: the server sets them."
        )


def _by_server(
    remote: Remote, pictures: list[Picture], show: Show, top: int, progress: Progress
) -> int:
    """Show a server's predictions as they come; return how many failed."""
    failed = 0
    with progress("classifying", len(pictures)) as tick:
        for prediction in remote.stream(pictures, top):
            show(prediction)
            failed += prediction.label is None
            tick(1)
    return failed


def _json_writer(_classes: tuple[str, ...], _top: int) -> Show:
    return lambda prediction: print_json(prediction.to_dict())


def _text_writer(classes: tuple[str, ...], top: int) -> Show:
    width = min(WIDEST, max(len(escaped(name)) for name in classes))
    blank = " " * (min(top, len(classes)) * (width + 11))

    def write(prediction: Prediction) -> None:
        path = escaped(prediction.path)
        if prediction.error:
            print(f"{blank}{path}: {prediction.error}")
            return
        doubts = [
            *(["not accepted: below the threshold"] if not prediction.accepted else []),
            *(["unknown: unlike the training data"] if prediction.unknown else []),
        ]
        cells = [f"{100 * p:5.1f} %  {escaped(label):<{width}}  " for label, p in prediction.top]
        remark = f"  ({'; '.join(doubts)})" if doubts else ""
        print(f"{''.join(cells)}{path}{remark}")

    return write


def _csv_writer(classes: tuple[str, ...], top: int) -> Show:
    top = min(top, len(classes))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    text = escaped if sys.stdout.isatty() else str
    ranks = range(1, top + 1)
    names = [f"{what}_{k}" for k in ranks for what in ("label", "probability")]
    writer.writerow(["path", *(names if top > 1 else ["label", "probability"]),
                     "accepted", "unknown", "error"])  # fmt: skip

    def write(prediction: Prediction) -> None:
        cells = [cell for label, p in prediction.top for cell in (text(label), p)]
        cells = cells or [""] * (2 * top)
        flags = [_word(prediction.accepted), _word(prediction.unknown)]
        writer.writerow([text(prediction.path), *cells, *flags, prediction.error or ""])

    return write


def _word(flag: bool | None) -> str:
    return "" if flag is None else str(flag).lower()
