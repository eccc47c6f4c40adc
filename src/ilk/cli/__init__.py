"""The command line: one thin file a command, each imported only when it runs."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ilk.errors import IlkError, Interrupted
from ilk.text import escaped

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "check": "Find problems in the pictures: broken files, copies, leakage, wrong labels.",
    "train": "Train a classifier on labelled pictures, and evaluate it.",
    "evaluate": "Score a trained model on labelled pictures.",
    "compare": "Compare two models on the same pictures.",
    "predict": "Classify pictures in files and folders.",
    "export": "Export a trained model to another format, verified in its own runtime.",
    "serve": "Serve models over HTTP, with a web page to try them.",
    "export-feedback": "Turn corrections that a service received into a catalog.",
    "benchmark": "Time models and exported files side by side.",
    "recipes": "List the recipes, or print one in full.",
    "backbones": "List backbones, or the parts of one.",
    "cache": "Show the size of the cache, or clear it.",
    "demo": "Run the whole workflow on a small real data set, without any download.",
}
ALIASES = {"evaluate": ("evaluate", "val")}
USAGE = 2  # the exit code
EPILOGUE = "Start with: ilk train FOLDER, where FOLDER has one subfolder of pictures per class."


def build_app() -> App:
    """Build the command line; commands are imported only when they run."""
    from cyclopts import App, Parameter

    from ilk import __version__

    app = App(
        name="ilk",
        help="Turn a folder of labelled pictures into a classifier you can trust and ship.",
        help_epilogue=EPILOGUE,
        version=__version__,
        default_parameter=Parameter(negative=(), show_default=_worth_showing),
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for place, (name, summary) in enumerate(COMMANDS.items()):
        app.command(
            f"ilk.cli.{name.replace('-', '_')}:{name.replace('-', '_')}",
            name=ALIASES.get(name, name),
            help=summary,
            help_epilogue="",
            sort_key=place,
        )
    return app


def _worth_showing(default: object) -> str | None:
    """Return a default as the help shows it; flags that are off or unset show none."""
    return None if default is None or default is False else str(default)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    from cyclopts import CycloptsError

    if sys.stdout is None:  # it was closed: nobody wants the results
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # any file name can be printed
            stream.reconfigure(errors="backslashreplace")
    _log_to_stderr()
    try:
        code = build_app()(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(_usage_message(error), USAGE) if _is_main_process() else USAGE
    except IlkError as error:
        said_once = isinstance(error, Interrupted) and not _is_main_process()
        return error.exit_code if said_once else _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader (head, say) has had enough
        _flush_or_forget()
        return 0
    except OSError as error:  # a full disk, a folder that may not be read
        _flush_or_forget()
        return _fail(f"{error}.", 1)
    return int(code or 0)


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    # Pillow then keeps some memory from picture to picture; mapping it anew takes time.
    os.environ.setdefault("PILLOW_BLOCKS_MAX", "8")
    from ilk.library_warnings import quiet_libraries

    with quiet_libraries():
        code = run()
    sys.exit(code)


def _is_main_process() -> bool:
    from ilk.runtime import is_main_process  # late: --help does not need it

    return is_main_process()


def _fail(message: str, code: int) -> int:
    print(f"ilk: {escaped(message)}", file=sys.stderr)
    return code


def _flush_or_forget() -> None:
    """Flush stdout; if that fails, replace it, so that Python does not fail on it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_message(error: Exception) -> str:
    """Describe the error in the command line in one sentence."""
    from pydantic import ValidationError

    from ilk.recipes import explained

    if isinstance(error.__cause__, ValidationError):
        dashes = "--" if error.__cause__.errors()[0]["loc"] else ""
        return dashes + explained(error.__cause__).replace("_", "-", 1)
    text = " ".join(str(error).split())
    return f"{text} See 'ilk --help' or 'ilk COMMAND --help'."


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the time of each message: callers may redirect or close it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # its bars make way for the line
        with tqdm.external_write_mode(sys.stderr) if tqdm else nullcontext():
            super().emit(record)


def _log_to_stderr() -> None:
    logger = logging.getLogger("ilk")
    if not logger.handlers:
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    # Pillow warns about large pictures before it rejects them; ilk reports the rejection.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
