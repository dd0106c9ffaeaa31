"""Reads the committed rules and runbooks, and gives the programs that check and run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
PROMETHEUS: Final = ROOT / "observability" / "prometheus"
ALERTMANAGER: Final = ROOT / "observability" / "alertmanager" / "alertmanager.yml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
_SELECTOR: Final = re.compile(r"\b(?:signalstack[:_][\w:]+|up\b)(?:\{[^}]*\})?")
_METRIC: Final = re.compile(r"\bsignalstack_[a-z_]+")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, recording or alert."""

    expr: str
    record: str | None = None
    alert: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    rules: list[Rule]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    groups: list[_Group]


def rules() -> list[Rule]:
    """Read every rule that is committed."""
    return [rule for path in _rule_files() for group in _parse(path).groups for rule in group.rules]


def alerts() -> list[Rule]:
    """Read the rules that alert; one name may stand in several."""
    return [rule for rule in rules() if rule.alert is not None]


def metrics(text: str) -> set[str]:
    """Find the names of our metrics in an expression or a page."""
    return set(_METRIC.findall(text))


def selectors(expression: str) -> set[str]:
    """Find what an expression reads: names with their matchers, without ranges."""
    return set(_SELECTOR.findall(expression))


def runbooks() -> dict[str, str]:
    """Read every page by the name of its alert."""
    pages = (path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
    return {path.stem: path.read_text() for path in pages}


def _rule_files() -> Iterator[Path]:
    yield from sorted((PROMETHEUS / "rules").glob("*.yml"))


def _parse(path: Path) -> _File:
    return msgspec.yaml.decode(path.read_bytes(), type=_File)
