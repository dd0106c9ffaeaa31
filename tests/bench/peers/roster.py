"""Who is measured: how each is named, installed and run, and where its jobs lie."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from bench.peers import tables
from bench.peers.tables import Tables

OURS: Final = "signalstack"


class Server(StrEnum):
    """What a peer keeps its jobs in."""

    POSTGRESQL = "PostgreSQL"
    REDIS = "Redis"


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the table."""

    name: str
    title: str
    adapter: str
    package: str
    environment: str
    """The Python environment or `node`; empty for the one that this runs in."""
    server: Server = Server.POSTGRESQL
    broker: str = ""
    tables: Tables | None = None
    ready: str = '{"ready": true}'
    """How a line begins by which a worker says that it takes jobs."""
    checkout: Path | None = None
    """Where another build of ours lies, with an environment of its own."""

    @property
    def ours(self) -> bool:
        """Whether this is SignalStack, be it another build."""
        return self.package == OURS


PEERS: Final = (
    Peer(
        name=OURS,
        title="SignalStack",
        adapter="signalstack_adapter.py",
        package=OURS,
        environment="",
        tables=tables.SIGNALSTACK,
        ready="metrics ",
    ),
    Peer(
        name="graphile",
        title="graphile-worker",
        adapter="graphile.mjs",
        package="graphile-worker",
        environment="node",
        tables=tables.GRAPHILE,
    ),
    Peer(
        name="pgboss",
        title="pg-boss",
        adapter="pgboss.mjs",
        package="pg-boss",
        environment="node",
        tables=tables.PGBOSS,
    ),
    Peer(
        name="pgqueuer",
        title="PgQueuer",
        adapter="pgqueuer_adapter.py",
        package="pgqueuer",
        environment="pgqueuer",
        tables=tables.PGQUEUER,
    ),
    Peer(
        name="procrastinate",
        title="Procrastinate",
        adapter="procrastinate_adapter.py",
        package="procrastinate",
        environment="procrastinate",
        tables=tables.PROCRASTINATE,
    ),
    Peer(
        name="taskiq",
        title="TaskIQ stream",
        adapter="taskiq_adapter.py",
        package="taskiq",
        environment="taskiq",
        server=Server.REDIS,
        broker="stream",
    ),
    Peer(
        name="taskiq-list",
        title="TaskIQ list",
        adapter="taskiq_adapter.py",
        package="taskiq",
        environment="taskiq",
        server=Server.REDIS,
        broker="list",
    ),
)


def build(number: int, checkout: Path) -> Peer:
    """Make a column of another build of ours, driven by the adapter of this one."""
    (here,) = (peer for peer in PEERS if peer.name == OURS)
    return replace(
        here, name=f"build{number}", title=f"build {number}: {checkout.name}", checkout=checkout
    )
