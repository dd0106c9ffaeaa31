"""The tenant's guard in a query: where it must stand, and a query without it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from signalstack.store.sqlfiles import sql_root

if TYPE_CHECKING:
    from collections.abc import Iterator

_TENANT: Final = r"(?:%\(user_id\)s|\$1)(?:::uuid)?"
_ID: Final = r"(?:\w+\.)?user_id"
_NIL: Final = r"'00000000-0000-0000-0000-000000000000'(?:::uuid)?"
GUARD: Final = re.compile(
    rf"{_ID} = {_TENANT}|{_ID} IN \({_TENANT}, {_NIL}\)"
    r"|(?:\btenant\.|\bu\.)?\bid = %\(user_id\)s::uuid|\bu\.id = \$1::uuid"
)
_HANDED_ON: Final = re.compile(
    rf"{_ID} (?:=|IS NOT DISTINCT FROM) (?:any\(ARRAY\[)?(?!%|\$)\w+\.user_id"
)
_TABLE: Final = re.compile(r"\b(FROM|JOIN|UPDATE|INTO|USING) (?:ONLY )?signalstack\.(\w+)\b(?!\()")
_COMMENT: Final = re.compile(r"--[^\n]*")
_QUERY: Final = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b")


def files() -> dict[str, str]:
    """Give the texts of all queries by their names, without comments."""
    root = sql_root() / "queries"
    return {
        str(path.relative_to(root).with_suffix("")): _COMMENT.sub("", path.read_text())
        for path in sorted(root.rglob("*.sql"))
    }


def tenant_tables() -> set[str]:
    """Name the tables that hold a tenant's rows, as the committed schema has them."""
    schema = (sql_root() / "schema.sql").read_text()
    made = re.findall(r"CREATE TABLE signalstack\.(\w+) \((.*?)\n\)", schema, re.DOTALL)
    return {name for name, columns in made if "\n    user_id uuid" in columns} | {"users"}


def unguarded(text: str, tables: set[str]) -> list[str]:
    """Name the tables of tenants that some part of the query touches without a guard."""
    found: list[str] = []
    for part in _parts(text):
        for verb, table in _TABLE.findall(part):
            if table not in tables:
                continue
            inserted = verb == "INTO" and re.search(rf"INTO signalstack\.{table}.*?\(", part)
            if inserted and re.search(r"\buser_id\b", part):
                continue
            if not GUARD.search(part) and not _HANDED_ON.search(part):
                found.append(table)
    return found


def without_guard(text: str) -> str:
    """Take the tenant's guard out; the parameter stays, since a query must use what it is given."""
    return GUARD.sub("(%(user_id)s::uuid IS NOT NULL)", text)


def _parts(text: str) -> Iterator[str]:
    """Cut a statement into its queries, each without those that stand inside of it."""
    while True:
        nested = list(re.finditer(r"\(([^()]*)\)", text))
        if not nested:
            break
        for match in nested:
            if _QUERY.search(match[1]):
                yield from _split(match[1])
        # What is no query stays part of the one around it, in brackets that are read no more.
        text = re.sub(
            r"\(([^()]*)\)",
            lambda m: "" if _QUERY.search(m[1]) else f"\x01{m[1]}\x02",
            text,
        )
    yield from _split(text)


def _split(text: str) -> Iterator[str]:
    for part in re.split(r"\bUNION(?: ALL)?\b", text):
        yield part.replace("\x01", "(").replace("\x02", ")")
