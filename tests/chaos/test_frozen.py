"""A listener that is stopped holds PostgreSQL's notification queue; timeouts of its TCP free it."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest

from chaos.postgres import answers, serve
from chaos.promises import open_folder, until
from processes import start
from signalstack.store import embedded, migrate

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.long]

TIMEOUT_MS = 2_000
_FLOOD = (
    "SELECT count(pg_notify('signalstack_changed', n || repeat('x', 7000)))"
    " FROM generate_series(1, 3000) AS n"
)
_USED = "SELECT pg_notification_queue_usage() > 0 FROM pg_notify('signalstack_changed', 'one more')"


@contextmanager
def _by_tcp(data_dir: Path) -> Generator[str]:
    """Run the cluster that an embedded PostgreSQL left, on a port of loopback; gives the DSN."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = ("listen_addresses=127.0.0.1", f"port={port}", f"tcp_user_timeout={TIMEOUT_MS}")
    with serve(data_dir, *settings, access=["host all all 127.0.0.1/32 trust"]):
        yield f"postgresql://signalstack@127.0.0.1:{port}/signalstack"


@pytest.mark.timeout(120)
async def test_a_frozen_listener_frees_the_queue_when_its_connection_times_out() -> None:
    with open_folder() as folder:
        server = await anyio.to_thread.run_sync(
            partial(embedded.start, folder / "data", durable=False)
        )
        await anyio.to_thread.run_sync(server.stop)
        with _by_tcp(folder / "data") as dsn:
            await until(partial(answers, dsn))
            await migrate.up(dsn)
            async with (
                start("api", DATABASE_URL=dsn) as api,
                httpx2.AsyncClient(base_url=await api.read(r"^API +(\S+)")) as client,
                await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn,
            ):
                api.process.send_signal(signal.SIGSTOP)
                await conn.execute(_FLOOD.encode())
                assert await _is_used(conn)

                async def is_free() -> bool:
                    return not await _is_used(conn)

                await until(is_free, 20)
                api.process.send_signal(signal.SIGCONT)

                async def is_ready() -> bool:
                    return (await client.get("/ready")).is_success

                await until(is_ready)


async def _is_used(conn: psycopg.AsyncConnection) -> bool:
    row = await (await conn.execute(_USED.encode())).fetchone()
    assert row
    return bool(row[0])
