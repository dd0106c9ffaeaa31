"""An API whose PostgreSQL has become a standby says so, and serves again once that is promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest

from processes import start
from signalstack.store import embedded, migrate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PATIENCE_S = 15


async def test_ready_names_a_standby_until_it_is_promoted(data_dir: Path) -> None:
    server = await anyio.to_thread.run_sync(embedded.start, data_dir)
    try:
        dsn = server.facts.dsn
        await migrate.up(dsn)
        async with (
            start("api", DATABASE_URL=dsn) as api,
            httpx2.AsyncClient(base_url=await api.read(r"^API +(\S+)")) as client,
        ):
            before = await _until(client, 200)

            # As after a failover that the address did not follow: the same server, in recovery.
            await anyio.to_thread.run_sync(server.stop)
            (data_dir / "cluster" / "standby.signal").touch()
            server = await anyio.to_thread.run_sync(embedded.start, data_dir)
            standby = await _until(client, 503, "PostgreSQL is a standby")

            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
                await conn.execute("SELECT pg_promote()")
            after = await _until(client, 200)
            log = api.errors
    finally:
        await anyio.to_thread.run_sync(server.stop)

    for parts in (before, after):
        assert parts == dict.fromkeys(("postgresql", "schema", "listener"))
    assert standby["postgresql"].startswith("PostgreSQL is a standby: ")
    assert standby["schema"] == "not known, since PostgreSQL does not answer"
    assert standby["listener"].startswith("polling every 5 s, since no notifications arrive: ")
    assert "PostgreSQL is a standby" in standby["listener"]
    assert "listener.down" in log


async def _until(client: httpx2.AsyncClient, status: int, word: str = "") -> dict[str, str]:
    """Ask until it answers so; give the reason of each part."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            answer = await client.get("/ready")
            parts = {name: part["reason"] for name, part in answer.json()["parts"].items()}
            told = (str(parts[name]) for name in ("postgresql", "listener"))
            if answer.status_code == status and all(word in one for one in told):
                return parts
            await anyio.sleep(0.05)
