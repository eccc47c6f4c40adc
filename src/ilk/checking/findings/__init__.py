"""Findings: problems in the data, one family per file."""
