"""Check: find problems in the data, and write the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike, path
from pathlib import Path
from typing import Any

from ilk.arrays import Floats
from ilk.checking import report
from ilk.checking.findings import (
    balance,
    duplicates,
    files,
    groups,
    labels,
    outliers,
    pictures,
    shortcuts,
)
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import SEVERITIES
from ilk.checking.findings.records import Findings
from ilk.checking.out_of_fold import out_of_fold
from ilk.data.groups import with_groups
from ilk.data.inspection.cleared import read_cleared
from ilk.data.inspection.copies import with_copies
from ilk.data.inspection.inspect import Inspection, inspect
from ilk.data.inspection.near import Pair, near_pairs
from ilk.data.limits import pixel_limit
from ilk.data.sources import open_catalog
from ilk.errors import EngineError, UsageError, WeightsError
from ilk.evaluation.label_issues import beats_guessing
from ilk.folder import new_folder, readable_errors
from ilk.inference.backbone import run_backbone
from ilk.library_warnings import quiet_libraries
from ilk.models.backbones import DEFAULT, describe
from ilk.progress import ProgressOption, progress_of
from ilk.runtime import Progress
from ilk.spec import channels_of, range_of

log = logging.getLogger("ilk")
NEED_NETWORK = ("label.suspect", "balance.groups", "outlier")
MAX_PROBABILITIES = 200_000_000  # float32, of which several copies are in memory


@quiet_libraries()
def check(
    data: Any,
    *,
    quick: bool = False,
    model: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    group_by: str | None = None,
    not_copies: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    runs: str | PathLike[str] | None = None,
    exist_ok: bool = False,
    range: str | Sequence[float] = "auto",
    channels: str | int | Sequence[int] | None = None,
    max_pixels: int | None = None,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> Findings:
    """Read every picture, run a backbone over them, and find problems in the data.

    The features are cached, so a training with the same backbone does not compute them again.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
        See `ilk.open_catalog`.
    quick : bool
        Whether to run no backbone, and so skip wrong labels and outliers.
    model : str, optional
        The backbone; default: that of `ilk.train`.
    columns : mapping or str, optional
        What a table calls its columns: see `ilk.open_catalog`.
    group_by : str, optional
        What pictures that belong together have in common, as for `ilk.train`.
    not_copies : str or Path, optional
        A file of pictures that are no copies of each other: a line for each group, with paths
        separated by commas.
    out : str or Path, optional
        The folder to write ``check.json`` and ``check.html`` to.
    runs : str or Path, optional
        The folder in which to make that folder: ``check``, ``check-2``, …
    exist_ok : bool
        Whether to replace an earlier report in ``out``.
    range, channels, max_pixels : optional
        How pictures of many bits, channels or pixels are read: as the fields of `Recipe`.
    workers : int, optional
        The number of decoding threads; default: one per core.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    Findings

    Raises
    ------
    DataError
        There are no pictures.
    UsageError
        The backbone is not known, ``out`` and ``runs`` are both given, or ``exist_ok`` without
        ``out``.
    OutputError
        There is a report in the folder already, or it cannot be written.
    """
    if out is not None and runs is not None:
        raise UsageError("Give out or runs, not both.")
    if exist_ok and out is None:
        raise UsageError("exist_ok does not apply without out.")
    name = model or DEFAULT
    describe(name)  # raises for an unknown name before the work begins
    shown = progress_of(progress)
    range_of(range)
    with pixel_limit(max_pixels), _report_folder(out, runs, exist_ok) as folder:
        inspection = inspect(
            open_catalog(data, columns),
            workers,
            shown,
            pixel_range=range,
            channels=channels_of(channels),
        )
        features, reason = None, "--quick"
        if not quick:
            inspection, features, reason = _with_features(inspection, name, workers, shown)
        cleared = read_cleared(
            Path(not_copies) if not_copies is not None else None,
            {p.absolute for p in inspection.catalog.pictures},
        )
        pairs = near_pairs(inspection, workers, shown, cleared)
        catalog = with_copies(with_groups(inspection.catalog, group_by), pairs)
        evidence = Evidence(replace(inspection, catalog=catalog), features)
        missing = dict.fromkeys(NEED_NETWORK, reason) if reason else {}
        if features is not None:
            with shown("looking for wrong labels", 0):
                probabilities, reason = _out_of_fold_probabilities(evidence)
            evidence = replace(evidence, probabilities=probabilities)
            missing = {"label.suspect": reason} if reason else {}
        with shown("looking for the rest", 0):
            findings = find_all(evidence, pairs, missing, folder)
        if folder is not None:
            with readable_errors(folder, "--out"), shown("writing the report", 0):
                report.write(folder, findings)
    return findings


def find_all(
    evidence: Evidence,
    pairs: Iterable[Pair] = (),
    missing: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Findings:
    """Return all findings, most severe first.

    Parameters
    ----------
    pairs : iterable of Pair
        Near copies among the pictures.
    missing : mapping of str to str, optional
        Why some kinds cannot be looked for.
    folder : Path, optional
        Where the report goes.
    """
    found = [
        *files.find(evidence),
        *pictures.find(evidence),
        *duplicates.find(evidence, list(pairs)),
        *labels.find(evidence),
        *balance.find(evidence),
        *groups.find(evidence),
        *shortcuts.find(evidence),
        *outliers.find(evidence),
    ]
    found.sort(key=lambda f: SEVERITIES.index(f.severity))
    catalog = evidence.catalog
    number = len(catalog) + len(catalog.left_out)
    return Findings(number, tuple(found), catalog, dict(missing or {}), folder)


@contextmanager
def _report_folder(
    out: str | PathLike[str] | None, runs: str | PathLike[str] | None, exist_ok: bool
) -> Iterator[Path | None]:
    """Make the folder of the report; an existing one without a report may be used."""
    if runs is not None:
        with new_folder(Path(runs), None, False, default="check", flags=("", "--out")) as folder:
            yield folder
    elif out is not None:
        out = Path(out)
        place = Path(path.abspath(out)) if out.name in {"", ".."} else out  # noqa: PTH100
        free = not any((place / name).exists() for name in report.NAMES)
        flags = ("--out", "--out")
        with new_folder(place.parent, place.name, exist_ok or free, flags=flags) as folder:
            yield folder
    else:
        yield None


def _with_features(
    inspection: Inspection, model: str, workers: int | None, progress: Progress
) -> tuple[Inspection, Floats | None, str]:
    """Return the pictures that can be decoded, their features, and why there are none if so."""
    found = inspection.catalog.pictures
    if not found:
        return inspection, None, ""
    # The defaults of a training: the same cache.
    preprocess = describe(model).preprocess(None, "squash", inspection.catalog.conversion)
    try:
        extracted, _, _ = run_backbone(found, model, preprocess, workers=workers, progress=progress)
    except (WeightsError, EngineError) as error:
        log.warning("%s", error)
        return inspection, None, f"{model} cannot be run here"
    lost = {found[i].path: why for i, why in extracted.errors.items()}
    good = [i for i in range(len(found)) if i not in extracted.errors]
    features = extracted.features[good] if lost else extracted.features
    return inspection.without(lost), features, ""


def _out_of_fold_probabilities(evidence: Evidence) -> tuple[Floats | None, str]:
    """Return probabilities by models that have not seen the picture or a copy, or why not."""
    assert evidence.features is not None
    classes = len(evidence.catalog.classes)
    if len(evidence.features) * classes > MAX_PROBABILITIES:
        return None, f"{classes:,} classes with so many pictures take too much memory"
    probabilities = out_of_fold(
        evidence.features,
        evidence.targets,
        classes,
        groups=[p.origin for p in evidence.catalog.pictures],
    )
    if probabilities is None:
        return None, "too few pictures of the classes"
    if not beats_guessing(probabilities, evidence.targets):
        return None, "a model does no better than guessing"
    return probabilities, ""
