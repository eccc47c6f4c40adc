"""``ilk serve``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import Count, say
from ilk.cli.running import DEFAULT, Running, key_from


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
    formats: str = "JPEG,PNG,WEBP",
    header_timeout: float = 10.0,
    body_timeout: float = 30.0,
    running: Running = DEFAULT,
) -> None:
    """Serve models over HTTP, with a page to try them on.

    SIGTERM ends it in steps: it reports that it is not ready, answers what comes for --linger
    seconds, answers what it has, and exits. SIGHUP or POST /reload loads the models anew; a file
    that is no good leaves the old model in place.

    Parameters
    ----------
    models
        Run folders, model.safetensors or exported files; [NAME[@VERSION]=]PATH gives them names.
    host
        The address to listen on; 0.0.0.0 lets other machines in.
    port
        0: any that is free.
    feedback
        An SQLite file for corrections that people make on the page; see 'ilk export-feedback'.
    golden
        Labelled pictures; a model that names one of them otherwise is not served.
    api_key_file
        A file with the key that each request must bring; or set ILK_API_KEY.
    cors
        Another web site whose pages may ask, as https://example.org; can be given again.
    batch
        The most pictures that go through the network at once.
    queue
        Pictures that may wait or be worked on; what comes on top is refused with 429.
    deadline
        Seconds from the first byte of a request to its answer.
    linger
        Seconds that it still answers after SIGTERM.
    max_body
        Megabytes of a request.
    max_megapixels
        Of a picture.
    max_files
        Pictures of a request.
    formats
        What is decoded: also GIF, BMP, TIFF, AVIF, PPM.
    header_timeout
        Seconds in which a request's headers must come.
    body_timeout
        Seconds in which its body must come.
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
        on_ready=_tell,
        batch=batch,
        queue=queue,
        deadline_s=deadline,
        body_bytes=int(max_body * 1e6),
        pixels=int(max_megapixels * 1e6),
        files=max_files,
        formats=tuple(name.strip().upper() for name in formats.split(",")),
        header_s=header_timeout,
        body_s=body_timeout,
    )


def _tell(address: str, names: list[str]) -> None:
    say(f"Serving {', '.join(names)} at {address}  (page: /  calls: /docs  figures: /metrics)")
