"""A worker's lease as it is kept: registered, renewed, lost, given up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from chaos.proxy import proxied
from signalstack.store.workers import WorkerLease
from signalstack.worker.heartbeat import Heartbeat
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from uuid import UUID

PATIENCE_S = 10
LEASE_S = 0.6


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Beating:
    """A heartbeat and what it said."""

    def __init__(self, dsn: str, lease_s: float) -> None:
        self.lost = anyio.Event()
        self.regained = anyio.Event()
        self.heartbeat = Heartbeat(
            WorkerLease(dsn, name="test", queues=("mail",), concurrency=7, lease_s=lease_s),
            lease_s=lease_s,
            on_lost=self.lost.set,
            on_regained=self.regained.set,
        )

    @property
    def worker_id(self) -> UUID:
        return self.heartbeat.worker_id


@asynccontextmanager
async def _beating(dsn: str, lease_s: float = LEASE_S) -> AsyncGenerator[Beating]:
    beating = Beating(dsn, lease_s)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_S):
            await tasks.start(beating.heartbeat.run)
        yield beating
        tasks.cancel_scope.cancel()


async def _leases(shop: Shop) -> list[dict[str, Any]]:
    return await shop.rows(
        "SELECT id, name, queues, concurrency, lease_until > clock_timestamp() AS valid"
        " FROM signalstack.workers"
    )


async def _until_renewed(shop: Shop) -> None:
    """Wait for a renewal, which PostgreSQL says of itself by a notification."""
    async with shop.pool.connection() as conn:
        await conn.execute(
            b"CREATE OR REPLACE FUNCTION signalstack.told() RETURNS trigger LANGUAGE plpgsql AS"
            b" $$ BEGIN NOTIFY renewed; RETURN NULL; END $$"
        )
        await conn.execute(
            b"CREATE OR REPLACE TRIGGER told AFTER UPDATE ON signalstack.workers"
            b" EXECUTE FUNCTION signalstack.told()"
        )
        await conn.execute(b"LISTEN renewed")
        async for _ in conn.notifies(timeout=PATIENCE_S, stop_after=1):
            return
    pytest.fail("no renewal came")


async def test_a_worker_is_registered_before_it_works(shop: Shop) -> None:
    async with _beating(shop.dsn) as beating:
        assert await _leases(shop) == [
            {
                "id": beating.worker_id,
                "name": "test",
                "queues": ["mail"],
                "concurrency": 7,
                "valid": True,
            }
        ]


async def test_who_is_not_registered_has_no_identity(database_url: str) -> None:
    with pytest.raises(RuntimeError, match="not registered"):
        _ = Beating(database_url, LEASE_S).worker_id


async def test_the_lease_is_renewed_while_the_event_loop_is_blocked(shop: Shop) -> None:
    async with _beating(shop.dsn) as beating:
        await _until_renewed(shop)
        # Longer than the lease, and the loop does nothing else: only the thread can keep it.
        with psycopg.connect(shop.dsn) as conn:
            conn.execute("SELECT pg_sleep(%s)", [LEASE_S * 1.5])
        (row,) = await _leases(shop)
        assert row["valid"]
        assert not beating.lost.is_set()


async def test_a_lost_connection_does_not_lose_the_lease(shop: Shop) -> None:
    async with _beating(shop.dsn) as beating:
        before = beating.worker_id
        assert await shop.kill("heartbeat") == 1
        await _until_renewed(shop)
        (row,) = await _leases(shop)
        assert row["id"] == before == beating.worker_id
        assert not beating.lost.is_set()


async def test_a_peer_that_answers_nothing_does_not_keep_a_worker_without_a_lease(
    shop: Shop,
) -> None:
    async with proxied(shop.dsn) as (proxy, dsn), _beating(dsn) as beating:
        proxy.mode = "swallow"
        await shop.rows("DELETE FROM signalstack.workers")  # as others do who rescue its jobs
        with anyio.move_on_after(LEASE_S):
            await beating.lost.wait()
        assert not beating.lost.is_set()
        proxy.mode = "pass"
        with anyio.fail_after(PATIENCE_S):
            await beating.regained.wait()
        (row,) = await _leases(shop)
        assert row["id"] == beating.worker_id


async def test_a_lost_lease_is_told_and_replaced(shop: Shop) -> None:
    async with _beating(shop.dsn) as beating:
        before = beating.worker_id
        await shop.rows("DELETE FROM signalstack.workers")
        with anyio.fail_after(PATIENCE_S):
            await beating.lost.wait()
            await beating.regained.wait()
        (row,) = await _leases(shop)
        assert row["id"] == beating.worker_id != before


async def test_leaving_gives_the_lease_up(shop: Shop) -> None:
    async with _beating(shop.dsn) as beating:
        with anyio.fail_after(PATIENCE_S):
            await beating.heartbeat.leave()
        assert await _leases(shop) == []


async def test_ending_without_leaving_lets_the_lease_run_out(shop: Shop) -> None:
    async with _beating(shop.dsn, lease_s=30):
        pass
    (row,) = await _leases(shop)
    assert row["valid"]
