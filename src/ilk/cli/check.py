"""``ilk check``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ilk.cli.console import Count, print_json, progress, say
from ilk.errors import UsageError
from ilk.text import escaped, pluralize

if TYPE_CHECKING:
    from ilk.checking.findings import Findings
    from ilk.checking.quarantine import Moved
    from ilk.checking.selection import Selection

FAILED = 1
DID_NOT_PASS = 3
MOST_FAILURES = 20


def check(
    data: str | None = None,
    /,
    *,
    quick: bool = False,
    model: str | None = None,
    json: bool = False,
    out: Path | None = None,
    exist_ok: bool = False,
    fail_on: list[str] | None = None,
    quarantine: Path | None = None,
    kinds: list[str] | None = None,
    undo: Path | None = None,
    write_catalog: Path | None = None,
    workers: Count | None = None,
) -> int:
    """Say what is wrong with the pictures, before it ruins the model.

    Nothing is ever deleted. Findings are chosen by severity (error, warning, info), by kind
    (duplicate.exact) or by the beginning of one (duplicate), several joined by commas.

    Parameters
    ----------
    data
        Folder, table or name of a data set, as for 'ilk train'.
    quick
        Leave out what needs a network: likely wrong labels and outliers.
    model
        Backbone whose features are looked at; default: that of 'ilk train', which then finds them
        in the cache.
    json
        Print JSON instead of text.
    out
        Folder for check.json and check.html; default: runs/check, runs/check-2, …
    exist_ok
        Replace what an earlier check wrote into --out.
    fail_on
        Exit with 3 if there are such findings, as in --fail-on leakage,unreadable.
    quarantine
        Move the files of the findings that --kinds chooses into this new folder; of copies, one
        stays.
    kinds
        What --quarantine moves: severities, kinds, or families of them (file, picture, duplicate,
        leakage, label, balance, outlier), as in --kinds unreadable,duplicate.exact.
    undo
        Put back what a quarantine moved; takes its folder or its manifest.json.
    write_catalog
        Write a table with suspects marked, which 'ilk train' takes; a new .csv file.
    workers
        Threads that decode; default: one a core.
    """
    import ilk
    from ilk.checking import marked, report
    from ilk.checking.selection import select
    from ilk.cli.findings import print_findings

    if undo is not None:
        others = (data, model, out, fail_on, quarantine, kinds, write_catalog, workers)
        if quick or json or exist_ok or any(x is not None for x in others):
            raise UsageError("--undo takes a manifest alone: ilk check --undo MANIFEST.")
        return _undo(undo)
    if data is None:
        raise UsageError("Say what to check: ilk check DATA. See 'ilk check --help'.")
    if (quarantine is None) != (kinds is None):
        raise UsageError("--quarantine DIR and --kinds KINDS go together.")
    if quick and model is not None:
        raise UsageError("--model does not apply to --quick, which runs no network.")
    gate = select(fail_on, "--fail-on") if fail_on is not None else None
    to_move = select(kinds, "--kinds") if kinds is not None else None
    _refuse_idle(quick, gate, to_move)
    _refuse_places(data, quarantine, write_catalog)

    with _folder(out, exist_ok) as folder:
        result = ilk.check(data, quick=quick, model=model, workers=workers, progress=progress)
        _refuse_memory(result, quarantine, write_catalog)
        report.write(folder, result)
    if json:
        print_json(result.to_dict())
    else:
        print_findings(result)
        print(f"report  {escaped(folder / 'check.html')}")
    moved = _quarantine(result, to_move, quarantine) if to_move and quarantine else None
    _say_other_errors(result, to_move)
    if write_catalog is not None:
        number = marked.write(write_catalog, result, moved.files if moved else ())
        say(
            f"Wrote {escaped(write_catalog)}, with {number:,} suspects marked. "
            f"To train on it: ilk train {escaped(write_catalog)}"
        )
    unseen = sorted(gate.names & set(result.not_looked_for)) if gate else []
    if unseen:
        say(f"--fail-on: {', '.join(unseen)} could not be looked for, so nothing is passed.")
        return FAILED
    caught = len(gate.of(result)) if gate else 0
    if caught:
        say(f"--fail-on {','.join(fail_on or ())}: {pluralize(caught, 'finding')}.")
        return DID_NOT_PASS
    return FAILED if moved and moved.failed else 0


def _refuse_idle(quick: bool, *selections: Selection | None) -> None:
    """Refuse kinds that --quick does not look for: a gate that cannot fire passes everything."""
    from ilk.checking.findings.find import NEED_NETWORK

    named = {name for selection in selections if selection for name in selection.names}
    idle = [kind for kind in NEED_NETWORK if kind in named]
    if quick and idle:
        raise UsageError(f"--quick does not look for {', '.join(idle)}; drop one or the other.")


def _refuse_places(data: str, quarantine: Path | None, write_catalog: Path | None) -> None:
    """Refuse, before the work begins, to move or write to where that cannot be done."""
    from ilk.checking import marked
    from ilk.checking.quarantine import refuse_folder

    if quarantine is not None:
        refuse_folder(quarantine, Path(data))
    if write_catalog is not None:
        marked.refuse_table(write_catalog)


def _refuse_memory(findings: Findings, quarantine: Path | None, write_catalog: Path | None) -> None:
    """Refuse what is for files only where the pictures are none."""
    from ilk.checking import marked

    for flag, value in (("--quarantine", quarantine), ("--write-catalog", write_catalog)):
        if value is not None:
            marked.refuse_memory(findings.catalog, flag)


@contextmanager
def _folder(out: Path | None, exist_ok: bool) -> Iterator[Path]:
    """Make the folder that the report goes into; one that holds no report yet may be there."""
    from ilk.checking.report import NAMES
    from ilk.folder import new_folder

    if out is None:
        with new_folder(Path("runs"), None, False, default="check", flags=("", "--out")) as folder:
            yield folder
        return
    place = Path(os.path.abspath(out)) if out.name in {"", ".."} else out  # noqa: PTH100
    free = not any((place / name).exists() for name in NAMES)
    with new_folder(place.parent, place.name, exist_ok or free, flags=("--out", "--out")) as folder:
        yield folder


def _quarantine(findings: Findings, kinds: Selection, folder: Path) -> Moved | None:
    from ilk.checking.quarantine import chosen_files, quarantine

    chosen = chosen_files(kinds.of(findings))
    if not chosen:
        say("--quarantine: there is nothing to move.")
        return None
    moved = quarantine(chosen, folder, progress)
    say(f"Moved {pluralize(len(moved.files), 'file')} to {escaped(folder)}. "
        f"To put them back: ilk check --undo {escaped(folder / moved.manifest.name)}")  # fmt: skip
    _say_failures("could not be moved", moved)
    return moved


def _say_other_errors(findings: Findings, to_move: Selection | None) -> None:
    """Say which errors a quarantine leaves where they are, because --kinds does not name them."""
    if to_move is None:
        return
    others = {f.kind for f in findings.findings if f.severity == "error" and f not in to_move}
    if others:
        say(f"Errors that --kinds does not name stay: {', '.join(sorted(others))}.")


def _undo(manifest: Path) -> int:
    from ilk.checking.quarantine import undo

    moved = undo(manifest, progress)
    print(f"{pluralize(len(moved.files), 'file')} back in place.")
    _say_failures("could not be put back", moved)
    return FAILED if moved.failed else 0


def _say_failures(what: str, moved: Moved) -> None:
    if moved.failed:
        number = len(moved.failed)
        say(f"{pluralize(number, 'file')} {what}:")
        for path, reason in list(moved.failed.items())[:MOST_FAILURES]:
            say(f"  {escaped(path)}: {reason}")
        if number > MOST_FAILURES:
            say(f"  … and {number - MOST_FAILURES:,} more")
