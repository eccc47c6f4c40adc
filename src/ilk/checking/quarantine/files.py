"""Files: digests, and moves that overwrite nothing, also across file systems."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

from ilk.runtime import flush_folder

# Errors of os.link where hard links are not possible: another file system, one without links, or a
# file of another user.
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK,
            errno.ENOSYS}  # fmt: skip


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, or of a link's target path.

    Raises
    ------
    OSError
        It cannot be read, or is not a regular file or link.
    """
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return hashlib.sha256(b"link " + os.fsencode(path.readlink())).hexdigest()
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move(source: Path, target: Path, sha256: str) -> None:
    """Move a file with a known digest to a path that does not exist yet.

    A hard link is made and the old name removed, so the file keeps all its properties and has a
    name at all times. Where hard links are not possible, a copy is written, flushed together with
    its folders, and verified before the old file is removed.

    Raises
    ------
    FileExistsError
        The target exists.
    OSError
        It cannot be moved; it is still where it was.
    """
    make_folder(target.parent)
    linked = _linked(source, target)
    if not linked:
        _copy(source, target, sha256)
    try:
        if not linked:
            flush_folder(target.parent)
        source.unlink()
    except OSError:  # its folder is read-only: only the old name stays
        target.unlink()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and flush them to disk."""
    made = [new for new in (folder, *folder.parents) if not new.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for new in made:
        flush_folder(new.parent)


def part_of(target: Path, sha256: str) -> Path:
    """Return the name of a copy until it is complete: short and deterministic."""
    return target.with_name(f".ilk-{sha256[:16]}.part")


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy a file with its time and permissions, under another name until it is complete."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    part = part_of(target, sha256)
    part.unlink(missing_ok=True)
    try:
        with source.open("rb") as old, part.open("xb") as new:
            shutil.copyfileobj(old, new, 2**20)
            new.flush()
            os.fsync(new.fileno())
        shutil.copystat(source, part)
        if digest(part) != sha256:
            raise OSError(errno.EIO, "changed while it was copied", str(source))
        if not _linked(part, target):
            if os.path.lexists(target):  # no atomic way is left
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)
