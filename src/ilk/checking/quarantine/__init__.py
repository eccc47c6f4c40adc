"""Quarantine: files of chosen findings are moved away, and every one can be put back.

Nothing is ever deleted or overwritten. The manifest is written, and flushed, before the first file
moves, so whoever is killed in the middle finds each file either at its old place or at its new one.
"""

from ilk.checking.quarantine.move import Moved, quarantine, refuse_folder
from ilk.checking.quarantine.plan import chosen_files
from ilk.checking.quarantine.undo import undo

__all__ = ["Moved", "chosen_files", "quarantine", "refuse_folder", "undo"]
