"""``ilk check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ilk.cli.console import Count, given_sources, print_json, say
from ilk.errors import UsageError
from ilk.progress import heartbeat
from ilk.text import escaped, pluralize

if TYPE_CHECKING:
    from ilk.checking.findings.kinds import Selection
    from ilk.checking.findings.records import Findings
    from ilk.checking.quarantine.move import MoveResult

FAILED = 1
DID_NOT_PASS = 3
MAX_FAILURES = 20


def check(
    *data: str,
    quick: bool = False,
    model: str | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    not_copies: Path | None = None,
    json: bool = False,
    out: Path | None = None,
    exist_ok: bool = False,
    fail_on: list[str] | None = None,
    quarantine: Path | None = None,
    kinds: list[str] | None = None,
    undo: Path | None = None,
    write_catalog: Path | None = None,
    range: str = "auto",
    channels: str | None = None,
    max_pixels: Count | None = None,
    workers: Count | None = None,
) -> int:
    """Find problems in the data before they ruin the model.

    Nothing is ever deleted. Findings are selected by severity (error, warning, info), kind
    (duplicate.exact) or family (duplicate), separated by commas.

    Parameters
    ----------
    data
        Folders, tables or the name of a data set, as for 'ilk train'.
    quick
        Run no network, and so skip wrong labels and outliers.
    model
        Backbone to compute features with; default: that of 'ilk train', which then finds them in
        the cache.
    columns
        What a table calls its columns, as in path=image,label=choice.
    group_by
        What pictures have in common that belong together, such as a column 'patient', as for
        'ilk train'.
    not_copies
        File of pictures that you have looked at and that are no copies of each other: one line per
        group, with their paths in quotation marks or separated by commas.
    json
        Print JSON instead of text.
    out
        Folder for check.json and check.html; default: runs/check, runs/check-2, …
    exist_ok
        Replace an earlier report in --out.
    fail_on
        Exit with 3 if there are such findings, as in --fail-on leakage,unreadable.
    quarantine
        Move the files of the findings that --kinds selects to this new folder; of copies, one
        stays.
    kinds
        What --quarantine moves: severities, kinds or families (file, picture, duplicate, leakage,
        label, balance, outlier), as in --kinds unreadable,duplicate.exact.
    undo
        Move the files of a quarantine back, given its folder or its manifest.json.
    write_catalog
        Write a table with suspects marked, for 'ilk train', to this new .csv file.
    range
        Of pictures with more than 8 bits a channel, the values that become black and white: auto,
        full or LOW:HIGH, as for 'ilk train'.
    channels
        Of files with several pages or channels, the one to use, or three as RGB: 2 or 0,1,2.
    max_pixels
        The most pixels of a picture; larger ones are not read.
    workers
        Decoding threads; default: one per core.
    """
    import ilk
    from ilk.checking.findings.kinds import select
    from ilk.checking.quarantine.move import refuse_memory
    from ilk.cli.findings import print_findings

    if undo is not None:
        others = (
            *(model, columns, group_by, not_copies, out),
            *(fail_on, quarantine, kinds, write_catalog, channels, max_pixels, workers),
        )
        switches = quick or json or exist_ok or data or range != "auto"
        if switches or any(x is not None for x in others):
            raise UsageError("--undo takes only a manifest: ilk check --undo MANIFEST.")
        return _undo(undo)
    if not data:
        raise UsageError("Give DATA: ilk check DATA. See 'ilk check --help'.")
    if (quarantine is None) != (kinds is None):
        raise UsageError("--quarantine DIR and --kinds KINDS go together.")
    if quick and model is not None:
        raise UsageError("--model does not apply to --quick, which runs no network.")
    if exist_ok and out is None:
        raise UsageError("--exist-ok does not apply without --out: each report has a new folder.")
    sources = given_sources(data)
    gate = select(fail_on, "--fail-on") if fail_on is not None else None
    to_move = select(kinds, "--kinds") if kinds is not None else None
    _refuse_early(data, quick, gate, to_move, quarantine, write_catalog)
    with heartbeat("checking") as progress:
        catalog = ilk.open_catalog(sources, columns)
        for flag, given in (("--quarantine", quarantine), ("--write-catalog", write_catalog)):
            if given is not None:
                refuse_memory(catalog, flag)
        result = ilk.check(
            catalog,
            quick=quick,
            model=model,
            group_by=group_by,
            not_copies=not_copies,
            out=out,
            runs=Path("runs") if out is None else None,
            exist_ok=exist_ok,
            range=range,
            channels=channels,
            max_pixels=max_pixels,
            workers=workers,
            progress=progress,
        )
    if json:
        print_json(result.to_dict())
    else:
        print_findings(result)
        print(f"report  {escaped(f'{result.folder}/check.html')}")
    moved = None
    if quarantine is not None and to_move is not None:
        with heartbeat("moving files") as progress:
            moved = ilk.quarantine(result, to_move, quarantine, progress=progress)
        _say_moved(result, to_move, moved, quarantine)
    if write_catalog is not None:
        number = ilk.write_catalog(result, write_catalog, gone=moved.files if moved else ())
        say(
            f"Wrote {escaped(write_catalog)}, with {number:,} suspects marked. "
            f"To train on it: ilk train {escaped(write_catalog)}"
        )
    return _exit_code(result, gate, moved)


def _refuse_early(
    data: Sequence[str],
    quick: bool,
    gate: Selection | None,
    to_move: Selection | None,
    quarantine: Path | None,
    write_catalog: Path | None,
) -> None:
    """Refuse what cannot work before the check begins, which may take minutes."""
    from ilk.checking.check import NEED_NETWORK
    from ilk.checking.quarantine.move import refuse_folder
    from ilk.checking.write_catalog import refuse_table

    named = {name for selection in (gate, to_move) if selection for name in selection}
    skipped = [kind for kind in NEED_NETWORK if kind in named]
    if quick and skipped:
        # A gate that can never fail would pass everything.
        raise UsageError(f"--quick does not look for {', '.join(skipped)}; drop one of them.")
    if quarantine is not None:
        for source in data:
            refuse_folder(quarantine, Path(source))
    if write_catalog is not None:
        refuse_table(write_catalog)


def _say_moved(findings: Findings, selection: Selection, moved: MoveResult, folder: Path) -> None:
    """Say what was moved, and which errors were not selected."""
    if moved.manifest is None:
        say("--quarantine: there is nothing to move.")
    else:
        manifest = escaped(folder / moved.manifest.name)
        say(
            f"Moved {pluralize(len(moved.files), 'file')} to {escaped(folder)}. "
            f"To move them back: ilk check --undo {manifest}"
        )
        _say_failures("could not be moved", moved)
    selected = findings.selected(selection)
    errors = {f.kind for f in findings.select("error") if f not in selected}
    if errors:
        say(f"Errors that --kinds does not select remain: {', '.join(sorted(errors))}.")


def _exit_code(findings: Findings, gate: Selection | None, moved: MoveResult | None) -> int:
    skipped = sorted(gate & set(findings.not_looked_for)) if gate else []
    if skipped:
        say(f"--fail-on: could not look for {', '.join(skipped)}, so the check does not pass.")
        return FAILED
    caught = len(findings.selected(gate)) if gate else 0
    if caught:
        say(f"--fail-on: {pluralize(caught, 'finding')}.")
        return DID_NOT_PASS
    return FAILED if moved and moved.failed else 0


def _undo(manifest: Path) -> int:
    import ilk

    with heartbeat("putting files back") as progress:
        moved = ilk.undo_quarantine(manifest, progress=progress)
    print(f"Moved {pluralize(len(moved.files), 'file')} back.")
    _say_failures("could not be moved back", moved)
    return FAILED if moved.failed else 0


def _say_failures(what: str, moved: MoveResult) -> None:
    number = len(moved.failed)
    if number:
        say(f"{pluralize(number, 'file')} {what}:")
        for path, reason in list(moved.failed.items())[:MAX_FAILURES]:
            say(f"  {escaped(path)}: {reason}")
        if number > MAX_FAILURES:
            say(f"  … and {number - MAX_FAILURES:,} more")
