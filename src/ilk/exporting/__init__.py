"""Exporting: one file a format, and the proof that what was written agrees."""
