"""Quarantine: move the files of chosen findings away, in a way that can be undone.

Nothing is ever deleted or overwritten. The manifest is written and flushed before the first file is
moved, so if the process is killed, each file is either at its old place or at its new one.
"""
