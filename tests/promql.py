"""Finds the metrics that a PromQL expression reads, and the labels that it asks of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELECTOR: Final = re.compile(r"\b(?P<name>[a-zA-Z_:][\w:]*)\s*\{(?P<matchers>[^{}]*)\}")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_STRING: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"")
_GROUPING: Final = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<labels>[^()]*)\)"
)
_INNERMOST: Final = re.compile(r"\([^()]*\)")
_OPERATOR: Final = re.compile(r"[-+*/%^]|[=!<>]=|[<>]|\b(?:and|unless|atan2)\b")
_WORD: Final = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")
_KEYWORDS: Final = frozenset(
    {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "inf", "nan"}
)


class Read(msgspec.Struct, frozen=True):
    """A metric that is read, and the labels of its matchers."""

    metric: str
    labels: frozenset[str]


def read(expression: str) -> Iterator[Read]:
    """Yield each metric that is read."""
    for found in _SELECTOR.finditer(expression):
        yield Read(found["name"], frozenset(_MATCHER.findall(found["matchers"])))
    rest = _STRING.sub("", _GROUPING.sub("", _SELECTOR.sub(" ", expression)))
    for word in _WORD.findall(re.sub(r"\[[^\]]*\]", "", rest)):
        if word.lower() not in _KEYWORDS:
            yield Read(word, frozenset())


def loose(expression: str) -> bool:
    """Tell whether an `or` stands beside another operator without parentheses.

    Every other operator binds tighter or from the left: `A or B / C` is `A or (B / C)`.
    """
    flat = _STRING.sub("", _GROUPING.sub("", expression))
    flat = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\d+e-\d+", "", flat)
    while True:
        if any(_mixed(inner) for inner in _INNERMOST.findall(flat)):
            return True
        flatter = _INNERMOST.sub(" x ", flat)
        if flatter == flat:
            return _mixed(flat)
        flat = flatter


def grouped(expression: str) -> frozenset[str]:
    """Name the labels that anything is grouped or matched by."""
    found = (match["labels"].split(",") for match in _GROUPING.finditer(expression))
    return frozenset(label.strip() for labels in found for label in labels if label.strip())


def _mixed(flat: str) -> bool:
    """Tell whether one argument, without parentheses in it, has an `or` and another operator."""
    parts = flat.strip("()").split(",")
    return any(re.search(r"\bor\b", part) and _OPERATOR.search(part) for part in parts)
