"""Serve: answer requests from the network."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from ilk.data.limits import pixel_limit
from ilk.data.sources import open_catalog
from ilk.engines import Options
from ilk.errors import UsageError
from ilk.runtime import installed

REQUIRED = ("fastapi", "fastapi_offline", "uvicorn", "httptools", "python_multipart",
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
    stop: threading.Event | None = None,
    **limits: Any,
) -> None:
    """Serve models over HTTP until SIGTERM or SIGINT.

    While it runs, Pillow's ``MAX_IMAGE_PIXELS`` and the thresholds of the garbage collector are
    changed for the whole process. Outside the main thread no signal arrives: pass ``stop``.

    Parameters
    ----------
    models : sequence of str or Path
        Trained models or exported files, each ``[NAME[@VERSION]=]PATH``.
    host : str
        The address to listen on; ``0.0.0.0`` accepts other machines.
    port : int
        0: any free port.
    options : Options, optional
        Device, engine and precision of models that are not exported files.
    feedback : str or Path, optional
        An SQLite file for corrections; None: they are not accepted.
    golden : optional
        Labelled pictures, in any form that `evaluate` accepts; a model that gets one of them wrong
        is not served.
    api_key : str
        Required of each request; empty: not required.
    cors : sequence of str
        Other web sites whose pages may send requests, as ``https://example.org``.
    linger_s : float
        Seconds for which it still answers after SIGTERM.
    on_ready : callable, optional
        Called with the URL and the served models (``name@version``) once they are loaded, and
        after each reload by SIGHUP.
    stop : threading.Event, optional
        Ends the service once it is set.
    **limits
        ``batch``, ``queue``, ``files``, ``body_bytes``, ``buffer_bytes``, ``pixels``, ``formats``,
        ``header_s``, ``body_s`` and ``deadline_s``: the fields of `ilk.serving.limits.Limits`.

    Raises
    ------
    UsageError
        The packages for serving are not installed, the address is in use, or a limit is invalid.
    IlkError
        A model cannot be served.
    """
    missing = [name for name in REQUIRED if not installed(name)]
    if missing:
        raise UsageError(f"Serving needs {', '.join(missing)}: pip install 'ilk[serve]'.")
    from ilk.serving.app import build_app
    from ilk.serving.feedback import Feedback
    from ilk.serving.limits import Limits
    from ilk.serving.metrics import Metrics
    from ilk.serving.middleware import LOOPBACK, AccessPolicy
    from ilk.serving.registry import ModelRegistry, ModelSource
    from ilk.serving.server import Server
    from ilk.serving.service import Service

    chosen = Limits(**limits)
    metrics = Metrics()
    sources = [ModelSource.parse(str(model)) for model in models]
    catalog = None if golden is None else open_catalog(golden)
    registry = ModelRegistry(sources, options or Options(), chosen, metrics, catalog)
    service = Service(registry, chosen, metrics)
    policy = AccessPolicy(api_key, tuple(map(_origin, cors)), local=host in LOOPBACK)
    store = None if feedback is None else Feedback(Path(feedback))
    server = Server(build_app(service, policy, store), service, host, port, linger_s, stop)

    def ready() -> None:
        if on_ready is not None:
            on_ready(server.address, [served.full_name for served in registry.all])

    # Small matrix products on one thread: BLAS threads would spin while they wait for more.
    with _request_log(), pixel_limit(chosen.pixels), threadpool_limits(1, "blas"):
        server.run_until_stopped(ready)


def _origin(text: str) -> str:
    """Return a web site's origin as browsers send it.

    Raises
    ------
    UsageError
        It is not an origin.
    """
    site = text.rstrip("/").lower()
    if not re.fullmatch(r"https?://[^/?#@\s]+", site):
        raise UsageError(f"--cors {text}: give a site such as https://example.org.")
    return site


@contextmanager
def _request_log() -> Iterator[None]:
    """Write one line of JSON per request to stderr, unless the log has a handler already."""
    log = logging.getLogger("ilk.requests")
    if log.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    previous = log.propagate, log.level
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = previous[0]
        log.setLevel(previous[1])
