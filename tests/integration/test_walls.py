"""The second wall between tenants: what PostgreSQL itself hides, whatever a query forgets."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from contexts import Witness
from pooler import pgbouncer
from rows import add_jobs, connect
from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.core.stage import Queried
from signalstack.store import embedded, migrate, query, tenancy
from signalstack.store.pool import Pool
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from uuid import UUID

    from signalstack.store.query import Connection

COUNT = "SELECT count(*) FROM signalstack.jobs"
IDENTITY = "SELECT current_user || coalesce(current_setting('signalstack.user_id', true), '')"


class Two:
    """Two tenants with a job each, and a pool of one connection."""

    def __init__(self, pool: Pool, mine: UUID, theirs: UUID) -> None:
        self.pool = pool
        self.mine = mine
        self.theirs = theirs


@pytest.fixture
async def two(database_url: str) -> AsyncGenerator[Two]:
    async with open_pool(database_url, max_size=1) as pool, connect(database_url) as conn:
        mine, theirs = await make_tenant(pool), await make_tenant(pool, "other")
        for tenant in (mine, theirs):
            await add_jobs(conn, tenant)
        yield Two(pool, mine, theirs)


async def scalar(conn: Connection, statement: str, **parameters: object) -> Any:
    cursor = await query.run(conn, "test", statement, parameters or None)
    row = await cursor.fetchone()
    assert row is not None
    return next(iter(row.values()))


async def test_a_tenants_connection_sees_that_tenant_alone(two: Two) -> None:
    async with two.pool.connection(two.mine) as conn:
        alone = await scalar(conn, COUNT)
    async with two.pool.transaction(two.mine) as conn:
        together = await scalar(conn, COUNT)
        foreign = await scalar(conn, COUNT + " WHERE user_id = %(id)s", id=two.theirs)

    assert (alone, together, foreign) == (1, 1, 0)


async def test_a_tenants_connection_writes_for_that_tenant_alone(two: Two) -> None:
    async with two.pool.connection(two.mine) as conn:
        changed = await query.run(conn, "test", "UPDATE signalstack.jobs SET priority = 9")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            await query.run(
                conn,
                "test",
                "INSERT INTO signalstack.queues (user_id, name) VALUES (%(id)s, 'q')",
                {"id": two.theirs},
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await query.run(conn, "test", "SELECT secret_sha256 FROM signalstack.api_keys")

    assert changed.rowcount == 1


async def test_the_next_borrower_is_nobody(two: Two) -> None:
    async def fail() -> None:
        async with two.pool.transaction(two.mine) as conn:
            await query.run(conn, "test", "SELECT 1 / 0")

    async def be_cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with two.pool.transaction(two.mine):
                scope.cancel()
                await anyio.lowlevel.checkpoint()

    async with two.pool.connection() as conn:
        before = await scalar(conn, IDENTITY)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await fail()
    await be_cancelled()
    async with two.pool.connection(two.mine) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await query.run(conn, "test", "SELECT 1 / 0")
        bound = await scalar(conn, IDENTITY)

    async with two.pool.connection() as conn:
        assert await scalar(conn, IDENTITY) == before
        assert await scalar(conn, COUNT) == 2
    assert bound == f"signalstack_tenant{two.mine}"


async def test_a_role_without_a_tenant_sees_no_rows_and_no_error(two: Two) -> None:
    async with two.pool.transaction() as conn:
        await query.run(conn, "test", "SET LOCAL ROLE signalstack_tenant")
        never_set = await scalar(conn, COUNT)
    async with two.pool.connection(two.mine) as conn:
        await scalar(conn, COUNT)
    async with two.pool.transaction() as conn:
        await query.run(conn, "test", "SET LOCAL ROLE signalstack_tenant")
        set_before = await scalar(conn, COUNT)

    assert (never_set, set_before) == (0, 0)


async def test_binding_takes_no_round_trip_of_its_own(database_url: str) -> None:
    witness = Witness()
    async with Pool(database_url, witness) as pool:
        tenant = await make_tenant(pool)
        witness.facts.clear()
        async with pool.connection(tenant) as conn:
            await scalar(conn, COUNT)
        async with pool.transaction(tenant) as conn:
            await scalar(conn, COUNT)

    # The pool may open a connection meanwhile.
    asked = [fact.query for fact in witness.facts if isinstance(fact, Queried)]
    names = [name for name in asked if name != "connections/configure"]
    assert names == ["test", "begin", "test", "commit"]


async def test_a_statement_whose_preparation_failed_works_the_next_time(database_url: str) -> None:
    async with (
        open_pool(database_url, max_size=1, lock_timeout_s=0.05) as pool,
        connect(database_url) as rival,
    ):
        mine = await make_tenant(pool)
        async with pool.connection(mine) as conn:
            for _ in range(8):  # more often than psycopg runs a statement before it prepares it
                for _ in range(6):
                    await scalar(conn, COUNT)
                async with rival.transaction():
                    await rival.execute("LOCK TABLE signalstack.jobs")
                    with pytest.raises(UnavailableError):
                        await scalar(conn, COUNT)

            assert await scalar(conn, COUNT) == 0


async def test_a_bound_statement_that_nobody_ends_is_given_up(two: Two) -> None:
    async with two.pool.connection(two.mine) as conn:
        conn.deadline_s = 0.05
        with anyio.fail_after(3), pytest.raises(UnavailableError, match="in time"):
            await query.run(conn, "test", "SELECT pg_sleep(4)")

    async with two.pool.connection(two.mine) as conn:
        assert await scalar(conn, COUNT) == 1


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs Debian's pgbouncer")
async def test_a_pooler_in_transaction_mode_lends_no_tenant_on(two: Two, database_url: str) -> None:
    with pgbouncer(database_url) as pooled:
        async with open_pool(pooled, max_size=2) as pool:
            async with pool.connection(two.mine) as conn, pool.connection() as other:
                for _ in range(8):  # past psycopg's threshold for preparing a statement
                    assert await scalar(conn, COUNT) == 1
                    assert await scalar(other, COUNT) == 2
            async with pool.transaction(two.theirs) as conn:
                assert await scalar(conn, IDENTITY) == f"signalstack_tenant{two.theirs}"


async def test_no_table_of_tenants_is_without_its_wall(database_url: str) -> None:
    """A new table with a user_id needs row-level security and a policy: CONTRIBUTING.md has it."""
    async with connect(database_url) as conn:
        cursor = await conn.execute("""
            SELECT
                c.relname,
                c.relrowsecurity,
                array(SELECT p.polname::text FROM pg_policy AS p WHERE p.polrelid = c.oid),
                EXISTS (
                    SELECT FROM pg_attribute AS g
                    WHERE g.attrelid = c.oid AND g.attnum > 0 AND NOT g.attisdropped
                        AND has_column_privilege('signalstack_tenant', c.oid, g.attnum, 'SELECT')
                ),
                has_table_privilege('signalstack_tenant', c.oid, 'TRUNCATE, REFERENCES, TRIGGER')
            FROM pg_class AS c
            INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'signalstack'::regnamespace AND c.relkind IN ('r', 'p')
                AND NOT c.relispartition
                AND (a.attname = 'user_id' OR (c.relname = 'users' AND a.attname = 'id'))
        """)
        for name, secured, policies, visible, more in await cursor.fetchall():
            assert secured, f"{name}: ENABLE ROW LEVEL SECURITY"
            assert "service" in policies, f"{name}: CREATE POLICY service"
            assert ("tenant" in policies) == visible, f"{name}: CREATE POLICY tenant, or no rights"
            assert not more, f"{name}: too many rights"


async def test_the_tenants_role_reaches_nothing_else(database_url: str) -> None:
    async with connect(database_url) as conn:
        cursor = await conn.execute("""
            SELECT c.relname
            FROM pg_class AS c
            WHERE c.relnamespace = 'signalstack'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                AND (c.relispartition OR NOT c.relrowsecurity)
                AND has_any_column_privilege('signalstack_tenant', c.oid, 'SELECT, INSERT, UPDATE')
        """)
        assert await cursor.fetchall() == []
        cursor = await conn.execute("""
            SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
                pg_has_role('signalstack_tenant', 'signalstack_service', 'MEMBER')
            FROM pg_roles WHERE rolname = 'signalstack_tenant'
        """)
        assert await cursor.fetchone() == (False,) * 6


@pytest.mark.slow
async def test_who_may_not_make_roles_is_told_what_to_run_and_then_migrates(data_dir: Path) -> None:
    async with embedded.run(data_dir, durable=False) as server:
        limited = make_conninfo(server.dsn, user="limited")
        async with connect(server.dsn) as admin:
            await admin.execute("CREATE ROLE limited LOGIN")
            await admin.execute("CREATE SCHEMA signalstack AUTHORIZATION limited")

            with pytest.raises(SchemaError, match="CREATE ROLE signalstack_tenant NOLOGIN") as told:
                await migrate.up(limited)
            advice = str(told.value).partition("run ")[2].partition(" CONTEXT")[0]
            for statement in advice.split(";"):
                await admin.execute(statement.encode())
            await migrate.up(limited)

        async with open_pool(limited) as pool:
            tenant = await make_tenant(pool)
            async with pool.connection() as conn:
                await tenancy.require(conn)
            async with pool.connection(tenant) as conn:
                assert await scalar(conn, "SELECT count(*) FROM signalstack.users") == 1


@pytest.mark.parametrize(
    "lost",
    [
        "DROP POLICY tenant ON signalstack.messages; DROP POLICY service ON signalstack.messages",
        "REVOKE SELECT ON signalstack.jobs FROM signalstack_tenant",
        "REVOKE USAGE ON SCHEMA signalstack FROM signalstack_tenant",
    ],
)
async def test_walls_that_a_restore_left_out_are_missed(database_url: str, lost: str) -> None:
    """Without the roles, or with --no-privileges; every read was a 500, and nothing said why."""
    async with open_pool(database_url) as pool, pool.connection() as conn:
        await tenancy.require(conn)
        async with connect(database_url) as admin:
            await admin.execute(lost.encode())

        with pytest.raises(SchemaError, match="as after a restore"):
            await tenancy.require(conn)


@pytest.mark.slow
async def test_a_login_that_lacks_a_membership_is_refused_with_what_to_run(
    database_url: str,
) -> None:
    async with connect(database_url) as admin:
        role = f"stranger_{admin.info.dbname}"
        name = sql.Identifier(role)
        await admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(name))
        try:
            await admin.execute(sql.SQL("GRANT USAGE ON SCHEMA signalstack TO {}").format(name))
            async with open_pool(make_conninfo(database_url, user=role, password="p")) as pool:
                async with pool.connection() as conn:
                    with pytest.raises(SchemaError) as told:
                        await tenancy.require(conn)
                for group in ("signalstack_tenant", "signalstack_service"):
                    statement = f'GRANT {group} TO "{role}"'
                    assert statement in str(told.value)
                    await admin.execute(statement.encode())
                async with pool.connection() as conn:
                    await tenancy.require(conn)
        finally:
            await admin.execute(sql.SQL("DROP OWNED BY {}").format(name))
            await admin.execute(sql.SQL("DROP ROLE {}").format(name))
