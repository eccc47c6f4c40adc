"""Split: assign pictures to train, val and test, reproducibly."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import Catalog
from ilk.data.names import tables_among
from ilk.errors import DataError
from ilk.text import escaped, join_limited, pluralize

_PREFIX = re.compile(r"[^\W\d_]{2,}")
MOST_PREFIXES = 50  # of the names of files, for them to be classes


def ensure_splits(catalog: Catalog, *, val_share: float, test_share: float, seed: int) -> Catalog:
    """Return a digested catalog in which every picture has a split.

    Existing splits are kept. Otherwise pictures are assigned at random, stratified by class. The
    assignment depends on content and seed only, not on names or the order of files. Copies always
    share a split: byte-identical files, and near copies where the catalog knows them
    (`ilk.data.inspection.copies.with_copies`). So do the pictures of a group (`ilk.data.groups`).

    Raises
    ------
    DataError
        There are fewer than two classes, no training pictures, a class too small to split, or one
        whose name is not UTF-8.
    """
    if len(catalog.classes) < 2:
        raise DataError(_too_few_classes(catalog))
    _refuse_if_unwritable(catalog.classes)
    if any(p.split for p in catalog.pictures):
        if "train" not in catalog.splits:
            raise DataError(
                f"{catalog.source} has the splits {', '.join(catalog.splits)} but no train split."
            )
        if catalog.splits != ("train",):
            return checked(catalog)
    shares = {"test": test_share, "val": val_share}
    assigned = _assigned(catalog, {k: v for k, v in shares.items() if v > 0}, seed)
    return replace(checked(assigned), dealt=True)


def _too_few_classes(catalog: Catalog) -> str:
    """Say what was seen instead of classes, and what layout it looks like."""
    name = next(iter(catalog.classes), "")
    seen = (
        f"{catalog.source} has only one class with pictures, '{escaped(name)}' "
        f"({pluralize(len(catalog), 'picture')}); a classifier needs at least two."
    )
    counts = Counter(
        found[0].casefold() if (found := _PREFIX.match(Path(p.path).name)) else ""
        for p in catalog.pictures
    )
    if 1 < len(counts) <= MOST_PREFIXES and "" not in counts and min(counts.values()) > 1:
        shown = join_limited(f"{prefix} ({n:,})" for prefix, n in counts.most_common())
        return (
            f"{seen} The names of the files begin with {shown}: if these are the classes, put the "
            "pictures of each into a folder of their own, or list them in a table with the columns "
            "path,label."
        )
    if tables := tables_among(x.path for x in catalog.left_out):
        return f"{seen} If a table has the labels, give that: {escaped(tables[0])}."
    return (
        f"{seen} Each folder counts as a class. Put the pictures of each class into a folder of "
        "their own, side by side; pictures of none of the classes may be a class 'other'."
    )


def _assigned(catalog: Catalog, shares: dict[str, float], seed: int) -> Catalog:
    split_of: dict[str, str] = {}
    noun = "group" if any(p.group for p in catalog.pictures) else "distinct picture"
    for label, groups in _groups_by_class(catalog, seed):
        # Copies of a picture that was assigned with an earlier class stay where they are.
        free = [origin for origin in groups if origin not in split_of]
        _refuse_if_too_small(label, len(groups), noun, len(shares) + 1)
        total = sum(groups.values())
        for done, (split, share) in enumerate(shares.items()):
            others = len(shares) - done  # the remaining splits, train included, need one each
            taken = _taken(free, groups, max(1, round(share * total)), len(free) - others)
            split_of.update(dict.fromkeys(taken, split))
            free = [origin for origin in free if origin not in split_of]
        split_of.update(dict.fromkeys(free, "train"))
    return replace(
        catalog,
        pictures=tuple(replace(p, split=split_of[p.origin]) for p in catalog.pictures),
    )


def _taken(free: Sequence[str], sizes: Mapping[str, int], quota: int, most: int) -> list[str]:
    """Return the first groups that fill a quota of pictures, at most so many groups.

    A group that would exceed the quota by more than is missing without it is passed over. If all
    are so large, the smallest is taken.
    """
    taken: list[str] = []
    for origin in free:
        if quota <= 0 or len(taken) >= most:
            break
        if sizes[origin] <= 2 * quota:
            taken.append(origin)
            quota -= sizes[origin]
    if not taken and most > 0:
        return [min(free, key=sizes.__getitem__)]
    return taken


def _groups_by_class(catalog: Catalog, seed: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield each class with its groups in seeded order, as origin: number of pictures.

    Classes with few groups come first, as those that they share with other classes are then free.
    """
    classes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for picture in catalog.pictures:
        if picture.label is not None:
            classes[picture.label][picture.origin] += 1
    for label in sorted(classes, key=lambda label: (len(classes[label]), label)):
        sizes = classes[label]
        yield label, {origin: sizes[origin] for origin in _shuffled(sizes, seed)}


def _shuffled(digests: Iterable[str], seed: int) -> list[str]:
    """Return digests in a pseudorandom order that depends on them and the seed only."""
    salt = str(seed).encode()

    def place(name: str) -> bytes:
        content = name.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(content, key=salt, digest_size=16).digest()

    return sorted(digests, key=place)


def _refuse_if_unwritable(classes: Iterable[str]) -> None:
    for label in classes:
        try:
            label.encode()
        except UnicodeEncodeError:  # a folder's name may be any bytes; an artefact's JSON may not
            raise DataError(f"The class name '{escaped(label)}' is not UTF-8; rename it.") from None


def _refuse_if_too_small(label: str, number: int, noun: str, splits: int) -> None:
    if number < splits:
        raise DataError(
            f"Class '{label}' has {pluralize(number, noun)}, fewer than "
            f"the {splits} splits. Add pictures, drop the class, or give the splits yourself."
        )


def roles(catalog: Catalog, val_share: float, seed: int) -> list[str | None]:
    """Return for each picture whether it is trained on, used for model selection, or neither.

    Scores are reported on `evaluation_split`, so model selection never uses it. If no other val
    split exists, a share of the training pictures is held out.

    Returns
    -------
    list of "train", "val" or None
    """
    reported = evaluation_split(catalog)
    if "val" in catalog.splits and reported != "val":
        return [p.split if p.split in {"train", "val"} else None for p in catalog.pictures]
    train = replace(catalog, pictures=catalog.of("train"))
    if val_share > 0:
        train = checked(_assigned(train, {"val": val_share}, seed))
    role = {p.origin: p.split for p in train.pictures}
    return [role[p.origin] if p.split == "train" else None for p in catalog.pictures]


def to_learn_from(catalog: Catalog) -> Catalog:
    """Return the catalog with the val split in train, unless it was given or scores are of it.

    For a model that selects nothing on val: it may learn from those pictures too.
    """
    if not catalog.dealt or evaluation_split(catalog) == "val":
        return catalog
    pictures = (replace(p, split="train") if p.split == "val" else p for p in catalog.pictures)
    return replace(catalog, pictures=tuple(pictures))


def checked(catalog: Catalog) -> Catalog:
    """Return the catalog if every class has training pictures; raise DataError otherwise."""
    train = {p.label for p in catalog.of("train")}
    absent = [label for label in catalog.classes if label not in train]
    if absent:
        raise DataError(
            f"No training pictures for the class {join_limited(absent)}, although other splits of "
            f"{catalog.source} have some. Add some to train, or remove the class."
        )
    return catalog


def evaluation_split(catalog: Catalog) -> str | None:
    """Return the split that scores are reported on: test where there is one, else val."""
    return next((name for name in ("test", "val") if name in catalog.splits), None)


def subsample(indices: NDArray[np.int64], seed: int, most: int = 1_000) -> NDArray[np.int64]:
    """Return at most ``most`` of some indices, drawn at random, in their order."""
    if len(indices) <= most:
        return indices
    return np.sort(np.random.default_rng(seed).choice(indices, most, replace=False))
