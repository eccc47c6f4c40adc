"""Findings: problems in the data, one family per file."""

from __future__ import annotations

from ilk.checking.findings.kinds import SEVERITIES, Severity
from ilk.checking.findings.records import Finding, Findings

__all__ = ["SEVERITIES", "Finding", "Findings", "Severity"]
