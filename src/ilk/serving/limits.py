"""Limits: what a service takes, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass

from ilk.data.decode import FORMATS
from ilk.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What a service takes from one client, and how much work it lets wait.

    Attributes
    ----------
    body_bytes : int
        The largest body of a request.
    pixels : int
        The most pixels of a picture, before it is decoded.
    files : int
        The most pictures of a request.
    formats : tuple of str
        Pillow's names of the formats that are decoded; no other decoder ever sees the bytes.
    header_s, body_s : float
        Seconds in which a request's headers, and its body, must have come.
    deadline_s : float
        Seconds from a request's first byte to its answer, whatever keeps it.
    queue : int
        Pictures that may be waiting, or be worked on, at once.
    batch : int
        The most pictures that go through the network at once.
    buffer_bytes : int
        Bytes of bodies that may be held at once, of all requests together.
    """

    body_bytes: int = 10_000_000
    pixels: int = 50_000_000
    files: int = 32
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP")
    header_s: float = 10.0
    body_s: float = 30.0
    deadline_s: float = 30.0
    queue: int = 128
    batch: int = 32
    buffer_bytes: int = 256_000_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "formats" and value <= 0:
                raise UsageError(f"{name} = {value}: give more than 0.")
        strange = [name for name in self.formats if name not in FORMATS]
        if strange or not self.formats:
            raise UsageError(
                f"No format {', '.join(strange) or 'is given'}; there is {', '.join(FORMATS)}."
            )
        if self.queue < self.files:
            raise UsageError(
                f"queue = {self.queue}: give {self.files} at least, or one request could never be "
                "answered."
            )
