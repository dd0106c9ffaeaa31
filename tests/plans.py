"""How PostgreSQL runs a query of ours: EXPLAIN ANALYZE by either kind of plan, and its nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import psycopg

from signalstack.store.query import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Plan = dict[str, Any]

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


def explain(
    conn: psycopg.Connection, name: str, given: Mapping[str, object], *, generic: bool
) -> Plan:
    """Run a query by a generic plan or one of its own, as a pool does; return what was done."""
    names: dict[str, int] = {}
    text = _PARAMETER.sub(
        lambda m: f"${names.setdefault(m[1], len(names) + 1)}", read(name)
    ).rstrip(" ;\n")
    mode = b"force_generic_plan" if generic else b"force_custom_plan"
    conn.execute(b"SET plan_cache_mode = " + mode)
    conn.execute(b"PREPARE page AS " + text.encode())
    try:
        found = (
            psycopg.ClientCursor(conn)
            .execute(
                b"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE page ("
                + b", ".join([b"%s"] * len(names))
                + b")",
                [given[name] for name in names],
            )
            .fetchone()
        )
        assert found is not None
        return found[0][0]["Plan"]
    finally:
        conn.execute("DEALLOCATE page")


def nodes(plan: Plan) -> Iterator[Plan]:
    """Walk through all nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def buffers(plan: Plan) -> int:
    """Tell how many pages a node and those under it touched."""
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def scanned(plan: Plan) -> list[str]:
    """Name the tables that were read from end to end."""
    return [
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and buffers(node)
    ]
