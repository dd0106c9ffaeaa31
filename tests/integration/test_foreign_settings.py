"""A database that is set for others: what it says of dates, texts, isolation and walls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from psycopg import sql

from boarding import ON_BOARD
from contexts import Witness
from front import open_front
from rows import add_jobs, add_user, connect, open_dispatch, until_someone_waits, value
from signalstack.store import migrate
from signalstack.store.workers import WorkerLease

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rows import Database


@pytest.fixture
async def admin(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


async def test_the_schema_is_known_whatever_dates_look_like(
    database_url: str, admin: Database
) -> None:
    await _set(admin, "DateStyle", "German")

    assert await migrate.up(database_url) == []
    assert (await migrate.version(database_url)).pending == ()


async def test_texts_are_kept_whole_whatever_encoding_clients_have(
    database_url: str, admin: Database
) -> None:
    await _set(admin, "client_encoding", "LATIN1")
    async with open_front(database_url) as front:
        job: dict[str, Any] = {"type": "noop", "payload": {"text": "ü漢"}}
        stored = await front.client.post("/v1/jobs", json=job)
        subscription = {"name": "漢", "event_type": "order.*", "job": {"type": "noop"}}
        made = await front.client.post("/v1/subscriptions", json=subscription)

    assert (stored.status_code, made.status_code) == (201, 201)
    assert await value(admin, "SELECT payload ->> 'text' FROM signalstack.jobs") == "ü漢"
    assert await value(admin, "SELECT name FROM signalstack.subscriptions") == "漢"


async def test_tenants_are_served_where_row_security_is_off(
    database_url: str, admin: Database
) -> None:
    await _set(admin, "row_security", "off")

    async with open_front(database_url) as front:
        assert (await front.client.get("/v1/queues")).status_code == 200


async def test_tenants_are_served_where_nobody_may_call_functions(
    empty_database_url: str,
) -> None:
    async with connect(empty_database_url) as conn:
        await conn.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public")
        await migrate.up(empty_database_url)
        refused = await value(
            conn,
            """
            SELECT array_agg(p.oid::regprocedure::text)
            FROM pg_proc AS p
            WHERE
                p.pronamespace = 'signalstack'::regnamespace
                AND p.proname <> 'note_act'  -- triggers alone call it
                AND NOT has_function_privilege('signalstack_service', p.oid, 'EXECUTE')
            """,
        )
    async with open_front(empty_database_url, job_types=ON_BOARD) as front:
        message = {"phone_number": "+15550001111", "content": "hello"}
        answers = [
            await front.client.post("/v1/messages", json=message),
            await front.client.post("/v1/jobs", json={"type": "noop"}),
            await front.client.get("/v1/jobs", params={"created_after": "2026-01-01T00:00:00Z"}),
            await front.client.get("/v1/queues"),
            await front.client.patch("/v1/queues/default", json={"concurrency": 1}),
        ]
        answers += [
            await front.client.post(f"/v1/jobs/{job['id']}/cancel")
            for job in answers[2].json()["data"]
        ]

    assert refused is None
    assert [answer.status_code for answer in answers] == [201, 201, 200, 200, 200, 200, 200]


async def test_who_waited_for_a_row_that_changed_goes_on_whatever_the_isolation(
    database_url: str, admin: Database
) -> None:
    await _set(admin, "default_transaction_isolation", "serializable")
    user_id, token = await add_user(admin), 7
    await add_jobs(admin, user_id)
    lease = WorkerLease(database_url, name="w", queues=[], concurrency=1, lease_s=30)
    worker_id = lease.take()
    await admin.execute(
        "UPDATE signalstack.jobs SET attempt = 1, worker_id = %s, lease_token = %s, "
        "started_at = now()",
        (worker_id, token),
    )
    waited: dict[str, object] = {}
    async with (
        open_dispatch(database_url, Witness()) as dispatch,
        open_front(database_url) as front,
        connect(database_url) as other,
    ):
        await front.client.patch("/v1/queues/lim", json={"concurrency": 1})

        async def disown() -> None:
            waited["disowned"] = (await dispatch.disown([token])).count

        async def renew() -> None:
            waited["renewed"] = await anyio.to_thread.run_sync(lease.renew)

        async def limit() -> None:
            answer = await front.client.patch("/v1/queues/lim", json={"concurrency": 2})
            waited["limited"] = answer.status_code

        for statement, work in (
            ("UPDATE signalstack.jobs SET priority = 1", disown),
            ("UPDATE signalstack.workers SET concurrency = 2", renew),
            ("UPDATE signalstack.queues SET running = 0 WHERE name = 'lim'", limit),
        ):
            async with anyio.create_task_group() as tasks, other.transaction():
                await other.execute(statement.encode())
                tasks.start_soon(work)
                await until_someone_waits(admin)
    lease.close()

    assert waited == {"disowned": 1, "renewed": True, "limited": 200}


async def _set(admin: Database, name: str, setting: str) -> None:
    """Set what sessions begin with in this database."""
    alter = sql.SQL("ALTER DATABASE {} SET {} = {}")
    database = sql.Identifier(admin.info.dbname)
    await admin.execute(alter.format(database, sql.Identifier(name), sql.Literal(setting)))
