"""Quarantine: move the files of chosen findings away, in a way that can be undone.

Nothing is ever deleted or overwritten. The manifest is written and flushed before the first file is
moved, so if the process is killed, each file is either at its old place or at its new one.
"""

from ilk.checking.quarantine.move import MoveResult, quarantine, refuse_folder, refuse_memory
from ilk.checking.quarantine.plan import chosen_files, place
from ilk.checking.quarantine.undo import undo_quarantine

__all__ = [
    "MoveResult",
    "chosen_files",
    "place",
    "quarantine",
    "refuse_folder",
    "refuse_memory",
    "undo_quarantine",
]
