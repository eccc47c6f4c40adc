"""``ilk serve``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import Count, say
from ilk.cli.running import DEFAULT, Running, key_from
from ilk.text import split_commas


def serve(
    models: list[str],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    feedback: Path | None = None,
    golden: str | None = None,
    api_key_file: Path | None = None,
    cors: list[str] | None = None,
    batch: Count = 32,
    queue: Count = 128,
    deadline: float = 30.0,
    linger: float = 5.0,
    max_body: float = 10.0,
    max_megapixels: float = 50.0,
    max_files: Count = 32,
    formats: str | None = None,
    header_timeout: float = 10.0,
    body_timeout: float = 30.0,
    running: Running = DEFAULT,
) -> None:
    """Serve models over HTTP, with a page to try them on.

    After SIGTERM it reports that it is not ready, still answers for --linger seconds, finishes the
    requests in progress, and exits. SIGHUP or POST /reload reloads the models; if a file cannot be
    served, the old models stay in use.

    Parameters
    ----------
    models
        Run folders, model.safetensors or exported files; [NAME[@VERSION]=]PATH sets their names.
    host
        The address to listen on; 0.0.0.0 accepts other machines.
    port
        0: any free port.
    feedback
        An SQLite file that stores corrections made on the page; see 'ilk export-feedback'.
    golden
        Labelled pictures; a model that gets one of them wrong is not served.
    api_key_file
        A file with the key that each request must send; or set ILK_API_KEY.
    cors
        Another web site whose pages may send requests, as https://example.org; repeatable.
    batch
        The most pictures that go through the network at once.
    queue
        The most pictures waiting or being processed; more are refused with 429.
    deadline
        Seconds from the first byte of a request to its answer.
    linger
        Seconds for which it still answers after SIGTERM.
    max_body
        Megabytes per request.
    max_megapixels
        Megapixels per picture.
    max_files
        Pictures per request.
    formats
        Accepted formats, of JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, PPM, JPEG2000, HEIF, JXL and
        DICOM; default: JPEG,PNG,WEBP and those of the training pictures.
    header_timeout
        Seconds within which the headers of a request must arrive.
    body_timeout
        Seconds within which the body of a request must arrive.
    """
    import ilk

    ilk.serve(
        models,
        host=host,
        port=port,
        options=running.options(),
        feedback=feedback,
        golden=golden,
        api_key=key_from(api_key_file),
        cors=cors or (),
        linger_s=linger,
        on_ready=_announce,
        batch=batch,
        queue=queue,
        deadline_s=deadline,
        body_bytes=int(max_body * 1e6),
        pixels=int(max_megapixels * 1e6),
        files=max_files,
        formats=None
        if formats is None
        else tuple(name.upper() for name in split_commas([formats])),
        header_s=header_timeout,
        body_s=body_timeout,
    )


def _announce(address: str, names: list[str]) -> None:
    say(f"Serving {', '.join(names)} at {address}  (page: /  API: /docs  metrics: /metrics)")
