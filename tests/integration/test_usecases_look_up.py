from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from psycopg import sql

from signalstack.core.errors import NotFoundError
from signalstack.core.ids import new_id
from signalstack.core.job import Status
from signalstack.store import jobs
from signalstack.usecases import look_up
from tenants import make_tenant, open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from signalstack.store.pool import Pool

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@pytest.fixture
async def tenant(pool: Pool) -> UUID:
    return await make_tenant(pool)


async def _insert(pool: Pool, table: str, row: dict[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier("signalstack", table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    async with pool.connection() as conn:
        await conn.execute(statement, row)


async def _live(pool: Pool, tenant: UUID, **fields: Any) -> UUID:
    job_id = new_id()
    row = {
        "user_id": tenant,
        "id": job_id,
        "type": "noop",
        "queue": "default",
        "priority": 0,
        "delayed": False,
        "max_attempts": 3,
        "run_at": datetime.now(UTC),
        "payload": '{"a": [1, 2.5, "ü"]}',
    }
    await _insert(pool, "jobs", row | fields)
    return job_id


async def _finished(pool: Pool, tenant: UUID, **fields: Any) -> UUID:
    job_id, now = new_id(), datetime.now(UTC)
    row = {
        "user_id": tenant,
        "id": job_id,
        "type": "noop",
        "queue": "default",
        "priority": 0,
        "status": "succeeded",
        "attempt": 1,
        "max_attempts": 3,
        "run_at": now,
        "created_at": now,
        "updated_at": now,
        "started_at": now,
        "finished_at": now,
        "payload": "null",
    }
    await _insert(pool, "finished_jobs", row | fields)
    return job_id


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, Status.PENDING),
        ({"lease_token": 5, "attempt": 1}, Status.RUNNING),
        ({"delayed": True, "run_at": LATER}, Status.SCHEDULED),
        # Due, though nobody has promoted it yet.
        ({"delayed": True}, Status.PENDING),
        ({"delayed": True, "run_at": LATER, "lease_token": 5}, Status.RUNNING),
    ],
)
async def test_status_of_a_live_job(
    pool: Pool, tenant: UUID, fields: dict[str, Any], status: Status
) -> None:
    job_id = await _live(pool, tenant, **fields)

    assert (await look_up.get_job(pool, tenant, job_id)).status is status


async def test_live_job_is_told_whole(pool: Pool, tenant: UUID) -> None:
    event_id = new_id()
    job_id = await _live(pool, tenant, event_id=event_id, idempotency_key="k", last_error="e")

    told = msgspec.json.decode(msgspec.json.encode(await look_up.get_job(pool, tenant, job_id)))

    assert told["payload"] == {"a": [1, 2.5, "ü"]}
    assert told["result"] is None
    assert told["event_id"] == str(event_id)
    assert (told["idempotency_key"], told["last_error"]) == ("k", "e")
    assert told["run_at"].endswith("Z")
    assert told["finished_at"] is None


async def test_finished_job_is_told_with_its_result(pool: Pool, tenant: UUID) -> None:
    job_id = await _finished(pool, tenant, result='{"ok": true}')

    job = await look_up.get_job(pool, tenant, job_id)

    assert job.status is Status.SUCCEEDED
    assert msgspec.json.decode(job.result) == {"ok": True}
    assert job.finished_at is not None
    assert b'"result":{"ok": true}' in msgspec.json.encode(job)


async def test_hidden_job_is_not_found(pool: Pool, tenant: UUID) -> None:
    job_id = await _finished(pool, tenant, hidden_at=datetime.now(UTC))

    with pytest.raises(NotFoundError):
        await look_up.get_job(pool, tenant, job_id)


async def test_another_tenants_job_is_not_found(pool: Pool, tenant: UUID) -> None:
    stranger = await make_tenant(pool, "zeta")
    for job_id in (await _live(pool, tenant), await _finished(pool, tenant)):
        with pytest.raises(NotFoundError):
            await look_up.get_job(pool, stranger, job_id)


async def test_the_query_alone_leaves_out_another_tenants_job(pool: Pool, tenant: UUID) -> None:
    stranger = await make_tenant(pool, "zeta")
    async with pool.connection() as conn:  # the owner's: no row-level security
        for job_id in (await _live(pool, tenant), await _finished(pool, tenant)):
            assert await jobs.get(conn, user_id=stranger, job_id=job_id) is None
            assert await jobs.get(conn, user_id=tenant, job_id=job_id) is not None


async def _event(pool: Pool, tenant: UUID, *job_ids: UUID, **fields: Any) -> UUID:
    event_id = new_id()
    row = {
        "user_id": tenant,
        "id": event_id,
        "type": "order.paid",
        "payload": '{"total": 5}',
        "job_ids": list(job_ids),
    }
    await _insert(pool, "events", row | fields)
    return event_id


async def test_event_is_told_with_its_jobs_in_order(pool: Pool, tenant: UUID) -> None:
    finished = await _finished(pool, tenant, status="failed")
    live = await _live(pool, tenant, lease_token=5)
    hidden = await _finished(pool, tenant, hidden_at=datetime.now(UTC))
    event_id = await _event(
        pool, tenant, live, hidden, finished, source="/shop", extensions='{"x": "1"}'
    )

    told = msgspec.json.decode(msgspec.json.encode(await look_up.get_event(pool, tenant, event_id)))

    assert told["payload"] == {"total": 5}
    assert told["extensions"] == {"x": "1"}
    assert told["source"] == "/shop"
    assert told["jobs"] == [
        {"id": str(live), "type": "noop", "queue": "default", "status": "running"},
        {"id": str(finished), "type": "noop", "queue": "default", "status": "failed"},
    ]


async def test_event_without_jobs_or_extensions(pool: Pool, tenant: UUID) -> None:
    event_id = await _event(pool, tenant)

    told = msgspec.json.decode(msgspec.json.encode(await look_up.get_event(pool, tenant, event_id)))

    assert told["jobs"] == []
    assert told["extensions"] is None


async def test_another_tenants_event_or_jobs_are_not_found(pool: Pool, tenant: UUID) -> None:
    stranger = await make_tenant(pool, "zeta")
    job_id = await _live(pool, tenant)
    event_id = await _event(pool, tenant, job_id)
    forged = await _event(pool, stranger, job_id)

    with pytest.raises(NotFoundError):
        await look_up.get_event(pool, stranger, event_id)
    assert (await look_up.get_event(pool, stranger, forged)).jobs == []


async def test_times_are_utc_whatever_the_session_says(pool: Pool, tenant: UUID) -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    job_id = await _live(pool, tenant, delayed=True, run_at=last)
    async with pool.connection() as conn:
        await conn.execute("SET TIME ZONE 'Pacific/Kiritimati'")
        job = await jobs.get(conn, user_id=tenant, job_id=job_id)

    assert job is not None
    assert job.run_at == last
    assert msgspec.json.encode(job.run_at) == b'"9999-12-31T23:59:59Z"'
