"""Owns the cutting of a SQL script into statements, by the rules for quotes and comments."""

from __future__ import annotations

import re
from typing import Final

from signalstack.core.errors import SchemaError

_TOKEN: Final = re.compile(
    r"""
    (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<quoted>
        [eE]'(?:[^'\\]|''|\\.)*'
        | '(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
      )
    | (?P<word>[^\W\d][\w$]*)
    | (?P<end>;)
    | (?P<open>['"]|\$(?:[^\W\d]\w*)?\$)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")


def split_statements(script: str) -> list[str]:
    """Cut a script at the semicolons that end a statement; comments go, empty statements too.

    Raises:
        SchemaError: a quote or comment has no end, or a body is written as BEGIN ATOMIC … END.
    """
    statements: list[str] = []
    parts: list[str] = []
    position, previous = 0, ""
    while found := _TOKEN.search(script, position):
        parts.append(script[position : found.start()])
        position = found.end()
        match found.lastgroup:
            case "comment":
                parts.append(" ")
            case "block":
                position = _end_of_block(script, position)
                parts.append(" ")
            case "end":
                statements.append("".join(parts).strip())
                parts = []
            case "open":
                raise SchemaError(f"A quote has no end: {script[found.start() :][:40]!r}")
            case _:
                if (previous, found[0].upper()) == ("BEGIN", "ATOMIC"):
                    raise SchemaError("BEGIN ATOMIC needs a migration that runs in a transaction.")
                previous = found[0].upper()
                parts.append(found[0])
    parts.append(script[position:])
    statements.append("".join(parts).strip())
    return [statement for statement in statements if statement]


def _end_of_block(script: str, position: int) -> int:
    """Find the end of a block comment, inside which others may nest."""
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(script, position)
        if edge is None:
            raise SchemaError("A block comment has no end.")
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position
