"""Owns which migrations there are, which of them a database has, and how the two compare."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.rows import dict_row

from signalstack.core.errors import SchemaError
from signalstack.store.query import read
from signalstack.store.sqlfiles import is_checkout, sql_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

_FILE: Final = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.up\.sql")
_UP: Final = """\
-- Say what this changes and why. It runs in one transaction; qualify every name with signalstack.
-- For CREATE INDEX CONCURRENTLY make the first line `-- no transaction`, and write the file so that
-- it can run again when it failed midway: DROP INDEX CONCURRENTLY IF EXISTS before each CREATE.
"""
_DOWN: Final = "-- Take back everything that the up file did.\n"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the schema, as its two files say."""

    version: int
    name: str
    checksum: str
    up: Path
    down: Path


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that a database says it has."""

    version: int
    name: str
    checksum: str
    applied_at: datetime


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database stands: 0 is nothing; `unknown` versions have no file in this build."""

    current: int
    latest: int
    pending: tuple[Migration, ...]
    unknown: tuple[int, ...]


def known(folder: Path | None = None) -> list[Migration]:
    """List the migrations of `folder`, by default our own, in order.

    Raises:
        SchemaError: a number is missing or used twice, or a file has no partner.
    """
    folder = folder or sql_root() / "migrations"
    return [_look_at(path, place) for place, path in enumerate(sorted(folder.glob("*.up.sql")), 1)]


def create(name: str, *, folder: Path | None = None) -> tuple[Path, Path]:
    """Make the two files of a new migration and give their paths, up first.

    Raises:
        SchemaError: the name is not in lower_case, or this is no source checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SchemaError(f"A migration's name is in lower_case, like add_labels; not {name!r}.")
    if folder is None and not is_checkout():
        raise SchemaError("New migrations are made in a source checkout, and this is none.")
    folder = folder or sql_root() / "migrations"
    stem = f"{len(known(folder)) + 1:04}_{name}"
    up, down = folder / f"{stem}.up.sql", folder / f"{stem}.down.sql"
    up.write_text(_UP, encoding="utf-8")
    down.write_text(_DOWN, encoding="utf-8")
    return up, down


async def applied(conn: AsyncConnection[Any]) -> list[Applied]:
    """List what the database has; nothing when it has no schema of ours."""
    # In a transaction of its own, so that the connection is left as it was found.
    # Binary: psycopg reads times in text in one DateStyle alone.
    async with conn.transaction(), conn.cursor(binary=True, row_factory=dict_row) as cursor:
        await cursor.execute(read("migrations/exist").encode())
        if await cursor.fetchone() == {"found": False}:
            return []
        await cursor.execute(read("migrations/list").encode())
        return msgspec.convert(await cursor.fetchall(), list[Applied])


def compare(migrations: Sequence[Migration], has: Sequence[Applied]) -> Version:
    """Tell where a database stands.

    Raises:
        SchemaError: a file was edited after it was applied; the message names it.
    """
    files = {each.version: each for each in migrations}
    for row in has:
        file = files.get(row.version)
        if file and file.checksum != row.checksum:
            raise SchemaError(
                f"{file.up} was changed after this database applied it as {row.name!r}: "
                "restore the file, and put the change into a new migration."
            )
    versions = {row.version for row in has}
    return Version(
        current=max(versions, default=0),
        latest=len(migrations),
        pending=tuple(each for each in migrations if each.version not in versions),
        unknown=tuple(sorted(versions - files.keys())),
    )


def refuse_unknown(standing: Version) -> None:
    """Make sure that the database is not ahead of this build.

    Raises:
        SchemaError: it is.
    """
    if standing.unknown:
        raise SchemaError(
            f"The database's schema is at version {standing.current}, and this build knows "
            f"{standing.latest}: update SignalStack, or run `signalstack migrate down` with the "
            "build that migrated it."
        )


def _look_at(path: Path, version: int) -> Migration:
    named = _FILE.fullmatch(path.name)
    down = path.with_name(path.name.removesuffix(".up.sql") + ".down.sql")
    if named is None or int(named["version"]) != version or not down.is_file():
        raise SchemaError(
            f"{path} is out of place: expected {version:04}_name.up.sql and its .down.sql."
        )
    # Git may have turned the line ends.
    text = path.read_bytes().replace(b"\r\n", b"\n")
    checksum = hashlib.sha256(text).hexdigest()
    return Migration(version=version, name=named["name"], checksum=checksum, up=path, down=down)
