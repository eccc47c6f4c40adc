"""Bodies: what a request carries, read within limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from ilk.serving.refusals import Refusal, too_late
from ilk.serving.service import Service

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MULTIPART = b"multipart/form-data"
BARE = (b"image/", b"application/octet-stream", b"application/x-www-form-urlencoded")
"""The kinds of a body that is a picture; the last is what curl says of all that it sends."""
PARTS = 64  # of a form, files and fields together


@dataclass(eq=False)
class Part:
    """A part of a form: a field, or a file where it has a file's name."""

    name: str = ""
    filename: str | None = None
    content: bytes = b""


@asynccontextmanager
async def body_of(request: Request, service: Service) -> AsyncIterator[bytes]:
    """Read the whole body, and hold its bytes as long as the block lasts.

    Raises
    ------
    Refusal
        It is too large (413), too slow (408), past the request's deadline (504), or the service
        holds too much already (429).
    """
    limits = service.limits
    left_s = request.state.deadline - time.monotonic()
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.body_bytes:
        raise _too_large(limits.body_bytes)
    body = bytearray()
    held = 0
    try:
        try:
            async with asyncio.timeout(min(limits.body_s, left_s)):
                async for chunk in request.stream():
                    service.room.hold(len(chunk))
                    held += len(chunk)
                    body += chunk
                    if held > limits.body_bytes:
                        raise _too_large(limits.body_bytes)
        except TimeoutError:
            if left_s <= limits.body_s:
                service.watch.late()
                raise too_late(limits.deadline_s) from None
            raise Refusal(408, f"The body did not come within {limits.body_s:g} s.") from None
        yield bytes(body)
    finally:
        service.room.drop(held)


def pictures_in(request: Request, body: bytes, most: int) -> list[Part]:
    """Return the pictures of a request: the files of a form, or the body itself.

    Raises
    ------
    Refusal
        There are none or too many, or the body is of no kind that carries pictures.
    """
    sent = request.headers.get("content-type", "").encode("latin-1")
    kind = sent.lower()
    if kind.startswith(MULTIPART):
        found = [part for part in parts_of(sent, body) if part.filename is not None]
    elif not kind or kind.startswith(BARE):
        found = [Part("image", "", body)] if body else []
    else:
        raise Refusal(
            415,
            "Send pictures as multipart/form-data (field 'image'), or one as the body, as image/* "
            "or application/octet-stream.",
        )
    if not found:
        raise Refusal(400, "No picture came: send one in the field 'image', or as the body.")
    if len(found) > most:
        raise Refusal(413, f"{len(found)} pictures came; a request takes {most}.")
    return found


def parts_of(kind: bytes, body: bytes) -> list[Part]:
    """Take a form apart (RFC 7578).

    Raises
    ------
    Refusal
        It is damaged, or has too many parts.
    """
    boundary = parse_options_header(kind)[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "The content type multipart/form-data names no boundary.")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError):
        raise Refusal(400, "The form is damaged.") from None
    if not form.ended:
        raise Refusal(400, "The form is incomplete: its last boundary is missing.")
    return form.parts


class _Form:
    """Collects the parts that the parser tells of."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._header, self._value = b"", b""
        self._content: list[bytes] = []
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        if len(self.parts) == PARTS:
            raise Refusal(413, f"The form has more than {PARTS} parts.")
        self.parts.append(Part())
        self._header, self._value = b"", b""
        self._content = []

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                part.filename = options[b"filename"].decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        self.parts[-1].content = b"".join(self._content)

    def _all(self) -> None:
        self.ended = True


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"The body is larger than the {most:,} bytes that are taken.")
