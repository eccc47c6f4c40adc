"""Trouble: what converters say is kept off the terminal; what they raise becomes an ExportError."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from ilk.errors import ExportError, IlkError
from ilk.text import error_text


@contextmanager
def trouble(converter: str) -> Iterator[None]:
    """Silence a converter's progress, warnings and advice; name it in an error, with its cause.

    Raises
    ------
    ExportError
        The converter raised something.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IlkError:
        raise
    except Exception as error:  # converters raise whatever they met, from kinds of their own
        told = error_text(_first(error), 400)
        raise ExportError(f"{converter} cannot take this network: {told}") from error
    finally:
        root.setLevel(level)


def _first(error: BaseException) -> BaseException:
    """Return the error that all began with: it names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
