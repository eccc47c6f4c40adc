"""Serve: answer requests from the network."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image
from threadpoolctl import threadpool_limits

from ilk.data.sources import open_catalog
from ilk.engines import Options
from ilk.errors import UsageError
from ilk.runtime import installed

EXTRA = ("fastapi", "fastapi_offline", "uvicorn", "httptools", "python_multipart",
         "prometheus_client")  # fmt: skip


def serve(
    models: Sequence[str | PathLike[str]],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    options: Options | None = None,
    feedback: str | PathLike[str] | None = None,
    golden: Any = None,
    api_key: str = "",
    cors: Sequence[str] = (),
    linger_s: float = 5.0,
    on_ready: Callable[[str, list[str]], None] | None = None,
    **limits: Any,
) -> None:
    """Serve models on the network, until the process is told to end (SIGTERM or SIGINT).

    Parameters
    ----------
    models : sequence of str or Path
        Trained models or exported files, each ``[NAME[@VERSION]=]PATH``.
    host, port
        Where to listen; port 0 is any that is free.
    options : Options, optional
        Where and how those run that are not exported files.
    feedback : str or Path, optional
        An SQLite file for corrections.
    golden : optional
        Labelled pictures, as for `evaluate`: a model that names one otherwise is not served.
    api_key : str
        Wanted of each request; empty: none is.
    cors : sequence of str
        Other web sites whose pages may ask.
    linger_s : float
        Seconds that it still answers after SIGTERM.
    on_ready : callable, optional
        Is told the address, and what is served, once the models are warm.
    **limits
        See `ilk.serving.limits.Limits`.

    Raises
    ------
    UsageError
        What serves is not installed, the address is taken, or a limit makes no sense.
    IlkError
        A model cannot be served.
    """
    missing = [name for name in EXTRA if not installed(name)]
    if missing:
        raise UsageError(f"Serving needs {', '.join(missing)}: pip install 'ilk[serve]'.")
    from ilk.serving.access import HERE, Access
    from ilk.serving.app import build_app
    from ilk.serving.feedback import Feedback
    from ilk.serving.limits import Limits
    from ilk.serving.models import Models, Place
    from ilk.serving.server import Server
    from ilk.serving.service import Service
    from ilk.serving.watch import Watch

    chosen = Limits(**limits)
    Image.MAX_IMAGE_PIXELS = chosen.pixels
    watch = Watch()
    places = [Place.of(str(model)) for model in models]
    catalog = None if golden is None else open_catalog(golden)
    service = Service(Models(places, options or Options(), chosen, watch, catalog), chosen, watch)
    app = build_app(
        service,
        Access(api_key, tuple(map(_site, cors)), local=host in HERE),
        Feedback(Path(feedback)) if feedback is not None else None,
    )
    server = Server(app, service, host, port, linger_s)

    def ready() -> None:
        if on_ready is not None:
            on_ready(server.address, [f"{s.name}@{s.version}" for s in service.models.all])

    _log_requests()
    with threadpool_limits(1, "blas"):  # small products, whose threads would wait busily for more
        server.run_until_told(ready)


def _site(text: str) -> str:
    """Return a web site as browsers name it.

    Raises
    ------
    UsageError
        It is none.
    """
    site = text.rstrip("/").lower()
    if not re.fullmatch(r"https?://[^/?#@\s]+", site):
        raise UsageError(f"--cors {text}: give a site such as https://example.org.")
    return site


def export_feedback(file: str | PathLike[str], output: str | PathLike[str]) -> int:
    """Write corrections that a service kept as pictures with a ``catalog.csv``; return how many.

    Raises
    ------
    UsageError
        The file is not there, or ``output`` holds something already.
    """
    from ilk.serving import feedback

    return feedback.export_feedback(Path(file), Path(output))


def _log_requests() -> None:
    """Write a line a request to stderr, as JSON and nothing else."""
    log = logging.getLogger("ilk.requests")
    log.propagate = False
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
