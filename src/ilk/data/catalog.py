"""Catalog: the table of pictures that every stage takes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ilk.arrays import Pixels, Targets
from ilk.data.names import NOT_DOWNLOADED, is_web_address
from ilk.errors import DataError, DecodeError
from ilk.folder import write_csv
from ilk.runtime import cores
from ilk.spec import PLAIN, SPLITS, Conversion
from ilk.text import escaped

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_FILE = 500_000_000
OWN_COLUMNS = ("path", "label", "split", "digest", "left_out")
Content: TypeAlias = "Pixels | bytes | Image"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a file, or in memory pixels ``uint8 [H, W, 3]``, a file's bytes or an image.

    What was given as a picture and is none has the reason as its content.

    ``near`` is what its near copies share, once they are known (`ilk.data.inspection.copies`), and
    ``group`` what pictures share that are never separated, such as those of a patient
    (`ilk.data.groups`). ``columns`` is what else a table says of it.
    """

    path: str
    label: str | None = None
    split: str | None = None
    digest: str = ""
    content: Content | DecodeError | None = field(default=None, repr=False, compare=False)
    near: str = ""
    group: str = ""
    columns: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def distinct(self) -> str:
        """What copies of one picture have in common, whether exact or near."""
        return self.near or self.digest

    @property
    def origin(self) -> str:
        """What pictures have in common that are not independent: a group, or copies."""
        return self.group or self.distinct

    @property
    def absolute(self) -> str:
        """The absolute path, with links as they are; of a picture in memory its name."""
        return self.path if self.content is not None else os.path.abspath(self.path)  # noqa: PTH100

    def read(self) -> Content:
        """Return the content, read from the file if there is one.

        Raises
        ------
        OSError
            The file cannot be read, is no regular file, or is larger than ``LARGEST_FILE`` bytes.
        DecodeError
            What was given is no picture.
        """
        if isinstance(self.content, DecodeError):
            raise DecodeError(str(self.content))
        if self.content is not None:
            return self.content
        if is_web_address(self.path):
            raise OSError(errno.ENOENT, f"it {NOT_DOWNLOADED}", self.path)
        try:
            status = Path(self.path).stat()
        except ValueError as error:  # a name with NUL in it
            raise OSError(errno.EINVAL, str(error), self.path) from None
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", self.path)
        if status.st_size > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"is larger than {LARGEST_FILE / 1e6:,.0f} MB", self.path)
        return Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that takes no part, and why; ``unreadable`` if it should have been a picture.

    ``kind`` is that of the finding, where it is known: see `ilk.checking.findings.kinds`.
    """

    path: str
    reason: str
    label: str | None = None
    split: str | None = None
    unreadable: bool = True
    kind: str = ""
    columns: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Catalog:
    """Pictures with their labels and splits, and the files that were left out.

    Attributes
    ----------
    pictures : tuple of Picture
    left_out : tuple of LeftOut
        Files that are not used, with reasons.
    source : str
        What the user called the data, for messages and reports.
    dealt : bool
        Whether the splits were assigned by ilk, not given with the data.
    conversion : Conversion
        How pictures of many bits or channels become 8-bit RGB, once they are inspected.
    formats : tuple of str
        The formats of the files, once they are inspected.
    """

    pictures: tuple[Picture, ...]
    left_out: tuple[LeftOut, ...] = ()
    source: str = "the data"
    dealt: bool = False
    conversion: Conversion = PLAIN
    formats: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted by name."""
        return tuple(sorted({p.label for p in self.pictures if p.label is not None}))

    @property
    def unreadable_share(self) -> float:
        """Share of the would-be pictures that cannot be read."""
        bad = sum(x.unreadable for x in self.left_out)
        return bad / max(1, bad + len(self.pictures))

    def refuse_unreadable(self, limit: float) -> None:
        """Raise a DataError if there are no pictures, or too large a share cannot be read."""
        bad = [x for x in self.left_out if x.unreadable]
        if not self.pictures and not bad:
            reasons = [f"{escaped(x.path)} {x.reason}" for x in self.left_out]
            first = f" The first file: {reasons[0]}." if reasons else ""
            raise DataError(f"{self.source} has no pictures that can be used.{first}")
        if self.unreadable_share > limit or not self.pictures:
            raise DataError(
                f"{len(bad):,} of {len(bad) + len(self.pictures):,} files of {self.source} "
                f"cannot be read, more than --max-unreadable {limit:g} allows. "
                f"The first: {escaped(bad[0].path)} {bad[0].reason}."
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur, in the order train, val, test."""
        present = {p.split for p in self.pictures}
        return tuple(name for name in SPLITS if name in present)

    def of(self, split: str) -> tuple[Picture, ...]:
        """Return the pictures of one split."""
        return tuple(p for p in self.pictures if p.split == split)

    def counts(self) -> Counter[str]:
        """Count the pictures of each class."""
        return Counter(p.label for p in self.pictures if p.label is not None)

    def labelled(self) -> Catalog:
        """Return the catalog with the pictures that have no label left out.

        Raises
        ------
        DataError
            No picture has a label.
        """
        bare = [p for p in self.pictures if p.label is None]
        if bare and len(bare) == len(self.pictures):
            raise DataError(
                f"None of the {len(bare):,} pictures of {self.source} has a label. Put each into a "
                "folder of its class, give a table with a column 'label', or pass labels."
            )
        gone = (
            LeftOut(p.path, "has no label", None, p.split, False, "file.unlabelled", p.columns)
            for p in bare
        )
        return replace(
            self,
            pictures=tuple(p for p in self.pictures if p.label is not None),
            left_out=(*self.left_out, *gone),
        )

    def without(self, reasons: Mapping[str, str], unreadable: bool = True) -> Catalog:
        """Return the catalog less some pictures, given as path: reason, which it remembers."""
        if not reasons:
            return self
        gone = [
            LeftOut(p.path, reasons[p.path], p.label, p.split, unreadable, columns=p.columns)
            for p in self.pictures
            if p.path in reasons
        ]
        return replace(
            self,
            pictures=tuple(p for p in self.pictures if p.path not in reasons),
            left_out=(*self.left_out, *gone),
        )

    def digested(self, workers: int | None = None) -> Catalog:
        """Return the catalog with each picture's content digest; unreadable files are left out."""
        with ThreadPoolExecutor(workers or cores()) as pool:
            results = list(pool.map(_digest, self.pictures, chunksize=64))
        pictures = [
            replace(p, digest=digest)
            for p, (digest, reason) in zip(self.pictures, results, strict=True)
            if not reason
        ]
        gone = [
            LeftOut(p.path, reason, p.label, p.split, columns=p.columns)
            for p, (_, reason) in zip(self.pictures, results, strict=True)
            if reason
        ]
        return replace(self, pictures=tuple(pictures), left_out=(*self.left_out, *gone))

    def save(self, file: Path) -> None:
        """Write the table ``path,label,split,digest,left_out``, one row per file.

        Further columns of the pictures follow. Paths of files are absolute, so that the table can
        be read from where it is. It is written completely or not at all.
        """
        every: tuple[Picture | LeftOut, ...] = (*self.pictures, *self.left_out)
        more = sorted({name for entry in every for name in entry.columns})
        rows: list[list[str | None]] = []
        for p in self.pictures:
            rows.append([p.absolute, p.label, p.split, p.digest, ""])
        for x in self.left_out:
            path = os.path.abspath(x.path)  # noqa: PTH100 -- keeps links as they are
            rows.append([path, x.label, x.split, "", x.reason])
        for row, entry in zip(rows, every, strict=True):
            row += [entry.columns.get(name, "") for name in more]
        write_csv(file, [*OWN_COLUMNS, *more], rows)


def class_indices(pictures: Iterable[Picture], classes: Sequence[str]) -> Targets:
    """Return the class of each picture, ``int64 [N]``; each label is one of the classes."""
    index = {label: k for k, label in enumerate(classes)}
    return np.array([index[str(p.label)] for p in pictures], np.int64)


def _digest(picture: Picture) -> tuple[str, str]:
    """Return (digest, ""), or ("", the reason why the file cannot be read)."""
    try:
        content = picture.read()
    except OSError as error:
        return "", f"cannot be opened: {error.strerror}"
    except DecodeError as error:
        return "", str(error)
    return digest_of(content), ""


def digest_of(content: Content) -> str:
    """Return a hash of a file's bytes, or of pixels and their shape: 32 hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    pixels = np.asarray(content)
    shape = str(pixels.shape).encode()
    return hashlib.blake2b(pixels.tobytes() + shape, digest_size=16).hexdigest()


def describe_left_out(left_out: Sequence[LeftOut], limit: int = 5) -> list[str]:
    """Return a line for each of the first files left out, and one for the rest."""
    lines = [f"{escaped(os.path.relpath(x.path))}: {x.reason}" for x in left_out[:limit]]
    if len(left_out) > limit:
        lines.append(f"… and {len(left_out) - limit:,} more")
    return lines
