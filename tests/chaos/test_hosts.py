"""Six hosts: a primary, its standby, two APIs, two workers. The primary's cable is pulled."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import psycopg
import pytest
from psycopg import sql

from chaos.ledger import read_spans
from chaos.network import open_network
from chaos.postgres import answers, clone, insist, serve
from chaos.promises import kept, more, open_folder, runs_a_job, until
from chaos.stack import Member, Stack, running, settings
from signalstack.store import embedded, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from chaos.network import Network

pytestmark = pytest.mark.slow

PRIMARY, STANDBY = "primary", "standby"
APIS: Final = ("api-1", "api-2")
WORKERS: Final = ("worker-1", "worker-2")
PASSWORD: Final = "of-a-throw-away-database"  # noqa: S105 - it is one
RECOVERED_S: Final = 15


@pytest.mark.timeout(180)
async def test_work_goes_on_by_the_standby_when_the_primarys_cable_is_pulled() -> None:
    with (
        open_folder() as folder,
        open_network(PRIMARY, STANDBY, *APIS, *WORKERS) as network,
    ):
        async with _open_site(folder, network) as stack, kept(stack) as told:
            await more(told)
            await until(partial(_all_work_since, stack, 0))
            ticks = await _ticks(stack)

            cut_at = anyio.current_time()
            network.hosts[PRIMARY].pull()
            stack.dsn = _dsn(network, STANDBY)
            await stack.rows("SELECT pg_promote()")
            promoted_at = anyio.current_time()
            for _ in stack.bases:
                await runs_a_job(stack)
            took_s = anyio.current_time() - promoted_at
            sys.stdout.write(f"both APIs had a job run {took_s:.1f} s after the promotion\n")
            # Claims wait for no standby: those that it had not yet heard of are made again.
            stack.crashes.append((cut_at, anyio.current_time()))

            async def ticks_again() -> bool:
                return await _ticks(stack) > ticks + 1

            await more(told)
            await until(partial(_all_work_since, stack, promoted_at))
            await until(ticks_again)
            starts = [member.starts for member in stack.members]
    assert took_s < RECOVERED_S
    assert starts == [1] * len(stack.members)


@asynccontextmanager
async def _open_site(folder: Path, network: Network) -> AsyncGenerator[Stack]:
    """Start everything, each on its host, all by a DSN that names both PostgreSQLs."""
    await _found(folder / PRIMARY)
    with ExitStack() as servers:
        # What is cut off is not waited for: it is ended as by its power.
        servers.enter_context(_serve(folder, network, PRIMARY, end=signal.SIGQUIT))
        await until(partial(answers, _dsn(network, PRIMARY)))
        await clone(_dsn(network, PRIMARY), folder / STANDBY, prefix=network.hosts[STANDBY].prefix)
        servers.enter_context(_serve(folder, network, STANDBY))
        stack = Stack(folder, _dsn(network, PRIMARY), None)
        await insist(stack)
        _settle_in(stack, network)
        async with running(stack):
            yield stack


async def _found(data_dir: Path) -> None:
    """Make a migrated database whose owner has a password."""
    server = await anyio.to_thread.run_sync(partial(embedded.start, data_dir, durable=False))
    try:
        dsn = server.facts.dsn
        await migrate.up(dsn)
        owner = sql.Identifier(urlsplit(dsn).username or "")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(owner, PASSWORD))
    finally:
        await anyio.to_thread.run_sync(server.stop)


def _serve(
    folder: Path, network: Network, name: str, end: signal.Signals = signal.SIGINT
) -> AbstractContextManager[None]:
    host = network.hosts[name]
    whom = f"all {network.range} scram-sha-256"
    return serve(
        folder / name,
        f"listen_addresses={host.address}",
        access=[f"host all {whom}", f"host replication {whom}"],
        prefix=host.prefix,
        end=end,
    )


def _settle_in(stack: Stack, network: Network) -> None:
    both = settings(stack, _dsn(network, PRIMARY, STANDBY))
    stack.apis, stack.workers = (
        [Member(name, name.split("-")[0], dict(both)) for name in names]
        for names in (APIS, WORKERS)
    )
    for member in stack.members:
        member.prefix = network.hosts[member.name].prefix
    for api in stack.apis:
        api.settings |= {"HOST": network.hosts[api.name].address, "PORT": "8080"}
    stack.bases = [f"http://{network.hosts[name].address}:8080" for name in APIS]


def _dsn(network: Network, *names: str) -> str:
    hosts = ",".join(f"{network.hosts[name].address}:5432" for name in names)
    return f"postgresql://signalstack:{PASSWORD}@{hosts}/signalstack"


async def _all_work_since(stack: Stack, moment: float) -> bool:
    at_work = {span.pid for span in read_spans(stack.ledger) if span.start > moment}
    return at_work >= {worker.pid for worker in stack.workers}


async def _ticks(stack: Stack) -> int:
    (row,) = await stack.rows("SELECT count(*) AS n FROM signalstack.schedule_ticks")
    return int(row["n"])
