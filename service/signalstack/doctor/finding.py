"""What a check comes to."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What a check comes to; a warning does not fail."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found: a fact, or for a warning and a fault a sentence with the remedy."""

    check: str
    verdict: Verdict
    says: str


def ok(check: str, says: str) -> Finding:
    """Find that all is well; `says` is a fact."""
    return Finding(check=check, verdict=Verdict.OK, says=says)


def warn(check: str, says: str) -> Finding:
    """Find what should be mended."""
    return Finding(check=check, verdict=Verdict.WARNING, says=says)


def fault(check: str, says: str) -> Finding:
    """Find what must be mended."""
    return Finding(check=check, verdict=Verdict.FAULT, says=says)
