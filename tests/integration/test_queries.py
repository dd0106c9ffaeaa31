"""Every file of sql/queries fits the migrated schema, and the struct that its rows fill."""

from __future__ import annotations

import importlib
import pkgutil
import re
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec
import psycopg
from psycopg import pq

import signalstack.store
from signalstack.store import query
from signalstack.store.query import Query
from signalstack.store.sqlfiles import sql_root

if TYPE_CHECKING:
    import pytest

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
# The Python types that a column of each PostgreSQL type comes as.
_FITS: Final[dict[str, frozenset[object]]] = {
    "bool": frozenset({bool}),
    "bytea": frozenset({bytes}),
    "float8": frozenset({float}),
    "int2": frozenset({int}),
    "int4": frozenset({int}),
    "int8": frozenset({int}),
    "jsonb": frozenset({msgspec.Raw}),
    "text": frozenset({str}),
    "timestamptz": frozenset({datetime}),
    "uuid": frozenset({UUID}),
    "_text": frozenset({list, set}),
    "_uuid": frozenset({list, set}),
}


def _files() -> list[str]:
    root = sql_root() / "queries"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.sql"))


def test_behind_a_pooler_one_job_is_stored_by_the_same_words() -> None:
    one, pooled = (query.read(f"intake/enqueue_one{which}") for which in ("", "_pooled"))
    assert pooled.partition("\njob AS (")[1:] == one.partition("\njob AS (")[1:]


def test_whatever_stores_one_job_takes_an_invitation_by_the_same_words() -> None:
    plain, guarded = (query.read(f"intake/{name}_one") for name in ("enqueue", "accept"))
    host = plain[plain.index("host AS (") : plain.index("job AS (")]
    assert host in guarded.replace("            AND EXISTS (SELECT FROM fresh)\n", "")


def test_keys_are_owned_by_the_same_words() -> None:
    owned = re.compile(r"ON CONFLICT .*?RETURNING[^)]*", re.DOTALL)
    texts = [query.read(f"intake/{name}") for name in ("enqueue", "accept", "accept_one")]
    assert len({found[0] for text in texts if (found := owned.search(text))}) == 1


def _queries() -> list[Query[Any]]:
    found: dict[str, Query[Any]] = {}
    for module in pkgutil.iter_modules(signalstack.store.__path__, "signalstack.store."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Query):
                found[value.name] = value
    return [found[name] for name in sorted(found)]


def _numbered(text: str) -> bytes:
    """Turn psycopg's parameters into PostgreSQL's, as psycopg does when it runs them."""
    names: dict[str, int] = {}
    text = _PARAMETER.sub(lambda m: f"${names.setdefault(m[1], len(names) + 1)}", text)
    return text.replace("%%", "%").encode() if names else text.encode()


def _describe(conn: psycopg.Connection, name: str) -> dict[str, str]:
    """Prepare a query; return its columns' names and types."""
    text = (sql_root() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    prepared = conn.pgconn.prepare(b"", _numbered(text))
    assert prepared.status == pq.ExecStatus.COMMAND_OK, prepared.error_message.decode()
    described = conn.pgconn.describe_prepared(b"")
    columns: dict[str, str] = {}
    for index in range(described.nfields):
        kind = conn.execute(
            "SELECT typname FROM pg_type WHERE oid = %s", (described.ftype(index),)
        ).fetchone()
        assert kind is not None
        columns[(described.fname(index) or b"").decode()] = kind[0]
    return columns


def _kinds(annotation: Any) -> set[object]:
    """Reduce an annotation to the classes of values that it takes, None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin is Literal:
        return {type(each) for each in get_args(annotation)}
    if origin in {Union, UnionType}:
        return {kind for part in get_args(annotation) for kind in _kinds(part)} - {NoneType}
    if origin is not None:
        return {origin}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {str}
    return {annotation}


def test_every_file_fits_the_schema(database_url: str, subtests: pytest.Subtests) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for name in _files():
            with subtests.test(name):
                _describe(conn, name)


def test_rows_fit_the_structs_that_they_fill(database_url: str, subtests: pytest.Subtests) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for query in _queries():
            with subtests.test(query.name):
                _check_fit(query.row, _describe(conn, query.name))


def _check_fit(row: Any, columns: dict[str, str]) -> None:
    if not columns:
        assert row is int, "what returns no rows counts those that it touched"
        return
    if isinstance(row, type) and issubclass(row, msgspec.Struct):
        wanted: dict[str, Any] = {
            field.encode_name: field.type for field in msgspec.structs.fields(row)
        }
    else:
        wanted = {next(iter(columns)): row}
    assert columns.keys() == wanted.keys()
    for column, kind in columns.items():
        assert _kinds(wanted[column]) <= _FITS[kind], (column, kind, wanted[column])


def test_all_statements_are_read_beforehand() -> None:
    files = list((sql_root() / "queries").glob("*/*.sql"))

    query.preload()

    assert query.read.cache_info().currsize >= len(files)
