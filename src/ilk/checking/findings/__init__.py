"""Checks: what is wrong with the pictures, before it ruins the model. One family a file."""

from __future__ import annotations

from ilk.checking.findings.records import ORDER, Finding, Findings, Severity

__all__ = ["ORDER", "Finding", "Findings", "Severity"]
