"""Names of files and folders: what a picture's name ends in, and what splits are called."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable

PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    *(".heic", ".heif", ".hif", ".jxl", ".dcm", ".dicom"),  # those need a package each
}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "seg_train"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "seg_val"), "val"),
    **dict.fromkeys(("test", "testing", "seg_test"), "test"),
}
# What systems, cloud drives, NAS boxes and notebooks leave behind; some hold copies of pictures.
SYSTEM_FOLDERS = {
    *("__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found"),
    *("@eadir", "@tmp", "#recycle", "@recycle", ".ipynb_checkpoints", ".git", ".svn", ".idea"),
    *(".vscode", ".cache", ".venv", ".thumbnails", ".thumbs", ".trash", ".trashes", ".appledouble"),
    *(".spotlight-v100", ".fseventsd", ".documentrevisions-v100", ".temporaryitems", ".sync"),
    *(".stfolder", ".stversions", ".dropbox.cache", ".tmp.drivedownload", ".tmp.driveupload"),
}


# A path keeps one of the two slashes.
_ADDRESS = re.compile(r"(?:^|/)(?:https?|ftps?|s3|gs|gcs|hf|abfss?|wasbs?):/", re.IGNORECASE)
NOT_DOWNLOADED = (
    "is a web address, and ilk does not download: get the file first, with curl -LO or a browser, "
    "and give its path"
)


def is_web_address(name: str) -> bool:
    """Return whether a name is an address such as ``https://example.org/cat.jpg``, and no file."""
    return _ADDRESS.search(name) is not None and not os.path.lexists(name)


IMAGE_FOLDERS = {"image", "images", "img", "imgs", "photos", "pictures"}
MASK_FOLDERS = {
    *("mask", "masks", "annotation", "annotations", "label", "labels", "segmentation"),
    *("segmentations", "seg", "gt", "groundtruth", "ground_truth"),
}


def mask_folders(names: Collection[str]) -> set[str]:
    """Return the folders of masks among folders side by side: there is one of images too."""
    if not any(name.lower() in IMAGE_FOLDERS for name in names):
        return set()
    return {name for name in names if name.lower() in MASK_FOLDERS}


def tables_among(files: Iterable[str]) -> list[str]:
    """Return the files that may be tables of labels."""
    return [file for file in files if file.lower().endswith((".csv", ".tsv", ".parquet"))]


def is_system_folder(name: str) -> bool:
    """Return whether a folder belongs to a system or a tool, and not to the data."""
    return name.lower() in SYSTEM_FOLDERS or name.lower().startswith(".trash-")


_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II[*+]\0|MM\0[*+]|P[1-6]\s"
    rb"|....ftyp|\0\0\0\x0c(?:jP  |JXL )|.{128}DICM",
    re.DOTALL,
)


def is_picture_without_suffix(path: str) -> bool:
    """Return whether a file whose name has no suffix with a letter begins as a picture does."""
    suffix = os.path.splitext(path)[1]  # noqa: PTH122 -- as below
    if any(map(str.isalpha, suffix)):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return bool(_SIGNATURES.match(file.read(132)))
    except OSError:
        return False


def has_picture_suffix(name: str) -> bool:
    """Return whether a file's name ends as a picture's does."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122 -- Path is 10 times slower, 60,000 times
