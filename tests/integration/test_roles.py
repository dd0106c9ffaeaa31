"""The API on a login of its own, with exactly the rights that docs/roles.md grants."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import strangers
from boarding import ON_BOARD
from front import client_of, make_key, open_front
from processes import finish
from rows import add_user, add_worker, connect, take, value
from signalstack.core.key import Scope
from signalstack.doctor.login import API_RIGHTS
from signalstack.store import partitions, tenancy
from signalstack.store.partitions import Missing
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rows import Database

PAGE = (Path(__file__).parents[2] / "docs/roles.md").read_text()
(GRANTS,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@asynccontextmanager
async def _login(admin: Database) -> AsyncGenerator[str]:
    """Make a login of its own for the API; gives its DSN."""
    role = f"api_{admin.info.dbname}"
    grants = GRANTS if _keeps_apart(admin) else re.sub(r" WITH INHERIT.*(?=;)", "", GRANTS)
    await admin.execute(re.sub(r"\bapi\b", role, grants).encode())
    try:
        yield make_conninfo(admin.info.dsn, user=role, password="choose one")
    finally:
        await admin.execute(f"DROP OWNED BY {role}".encode())
        await admin.execute(f"DROP ROLE {role}".encode())


async def test_the_api_serves_with_the_rights_that_are_documented(database_url: str) -> None:
    async with connect(database_url) as admin, open_pool(database_url) as owner:
        key = await make_key(owner, "acme", *Scope)
        await make_key(owner, "other", *Scope)
        async with (
            _login(admin) as dsn,
            open_front(dsn, job_types=ON_BOARD, keys=False) as front,
            client_of(front.app, key) as client,
        ):
            async with front.pool.connection() as conn:
                await tenancy.require(conn)
            named = await strangers.settle_in(client)
            for operation in strangers.operations():
                name = named.get(operation.path.split("/")[1], "")
                if operation.method != "DELETE" and not operation.path.endswith("/stream"):
                    answer = await strangers.call(client, operation, {"id": name, "name": name})
                    assert answer.status_code in {200, 201, 409}, (operation.path, answer.text)
            for statement in (
                # Which the login inherits before PostgreSQL 16, as the page says.
                *(["DELETE FROM signalstack.finished_jobs"] if _keeps_apart(admin) else []),
                "SELECT actor FROM signalstack.audit_log",
                "DROP TABLE signalstack.jobs",
                "UPDATE signalstack.api_keys SET revoked_at = NULL",
            ):
                async with front.pool.connection() as conn:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        await conn.execute(statement.encode())


async def test_the_doctor_judges_the_apis_login_by_what_the_api_needs(database_url: str) -> None:
    async with connect(database_url) as admin, _login(admin) as dsn:
        role = f"api_{admin.info.dbname}"

        _, sound, _ = await finish("doctor", DATABASE_URL=dsn)
        await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 12".encode())
        _, few, _ = await finish("doctor", DATABASE_URL=dsn)
        await admin.execute(f"REVOKE INSERT ON signalstack.events FROM {role}".encode())
        await admin.execute(f"REVOKE signalstack_service FROM {role}".encode())
        _, lacking, _ = await finish("doctor", DATABASE_URL=dsn)
        _, whole, _ = await finish("doctor", DATABASE_URL=database_url)

    # The server of the tests loses what was committed when it crashes: no fault of the login.
    assert _faults(sound) == {"durability"}, sound
    assert re.search(r"^ok +login .*the API's alone; not judged: .*`worker`", sound, re.MULTILINE)
    assert _faults(few) == {"durability"}, few
    assert "the API opens up to 12 (DB_POOL_MAX and 2)" in few
    assert _faults(lacking) == {"durability", "privileges", "tenants"}, lacking
    assert f'`GRANT INSERT ON signalstack.events TO "{role}"`' in lacking
    assert f'`GRANT signalstack_service TO "{role}"`' in lacking
    assert "not judged" not in whole


def test_the_doctor_knows_the_grants_of_the_page() -> None:
    granted = {
        table: set(kinds.split(", "))
        for kinds, tables in re.findall(r"GRANT ([A-Z, ]+) ON (signalstack\..*) TO api;", GRANTS)
        for table in tables.replace("signalstack.", "").split(", ")
    }

    assert granted == API_RIGHTS


@pytest.mark.parametrize("way", ["alone", "keyed", "others"])
async def test_the_api_takes_invitations_and_makes_none(database_url: str, way: str) -> None:
    async with connect(database_url) as admin, _login(admin) as dsn, connect(dsn) as api:
        user_id, worker = await add_user(admin), await add_worker(admin)
        await admin.execute("SELECT pg_advisory_lock(7)")
        await admin.execute(
            "INSERT INTO signalstack.invitations VALUES (%s, 'bell', '{}', 7, 1)", (worker,)
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await api.execute("UPDATE signalstack.invitations SET token = 2")
        assert await take(api, way, user_id) == 1


async def test_partitions_that_a_member_makes_are_the_owners(database_url: str) -> None:
    async with connect(database_url) as admin:
        owner, member = (f"{name}_{admin.info.dbname}" for name in ("owner", "member"))
        await admin.execute(f"CREATE ROLE {owner}; CREATE ROLE {member} LOGIN".encode())
        await admin.execute(f"GRANT {owner} TO {member}".encode())
        await admin.execute(f"GRANT USAGE, CREATE ON SCHEMA signalstack TO {owner}".encode())
        await admin.execute(f"ALTER TABLE signalstack.events OWNER TO {owner}".encode())
        try:
            async with (
                open_pool(make_conninfo(database_url, user=member)) as pool,
                pool.connection() as conn,
            ):
                assert await partitions.make(conn, Missing(name="events", day="2031-02-03"))
            made = await value(
                admin,
                "SELECT tableowner::text FROM pg_tables WHERE tablename = 'events_20310203'",
            )
        finally:
            await admin.execute(f"DROP OWNED BY {member}, {owner}".encode())
            await admin.execute(f"DROP ROLE {member}, {owner}".encode())

    assert made == owner


def _keeps_apart(admin: Database) -> bool:
    """Tell whether a login may be a member of a role and not have its rights by itself."""
    return admin.info.server_version >= 160_000


def _faults(output: str) -> set[str]:
    return set(re.findall(r"^fault +(\w+)", output, re.MULTILINE))
