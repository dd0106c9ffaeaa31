"""Measures how SignalStack goes on when there is more of everything, one axis after another.

    python tests/bench/growth/run.py --only backlog,workers

`publish.py` makes the pictures and the tables of docs/performance.md of what this writes.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import click
import msgspec
import psycopg
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script's own folder comes first otherwise

from bench.growth import axes
from bench.growth.axes import Field
from bench.growth.figures import Point, Report
from bench.growth.plan import QUICK, Plan
from bench.growth.rows import GrownStore
from bench.growth.table import show
from bench.peers.measures import Bench, open_client
from bench.peers.process import PeerError
from bench.peers.roster import OURS, PEERS
from bench.peers.servers import run_server
from signalstack.bench.figure import BenchError, Machine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench.peers.roster import Peer
    from bench.peers.servers import Host

AXES: Final[dict[str, Callable[[Field], Awaitable[list[Point]]]]] = {
    "backlog": axes.backlog,
    "history": axes.history,
    "tenants": axes.tenants,
    "workers": axes.workers,
    "horizon": axes.horizon,
}
_WIDTH: Final = 120


async def _measure(folder: Path, names: Sequence[str], plan: Plan) -> Report:
    seconds: dict[str, float] = {}
    found: dict[str, list[Point]] = {}
    failed: list[str] = []
    (ours,) = (peer for peer in PEERS if peer.name == OURS)
    async with run_server(ours, folder / "data") as host:
        async with _open(folder, ours, host, plan) as field:
            for name in names:
                began = perf_counter()
                _say(f"measuring {name}")
                try:
                    found[name] = await AXES[name](field)
                except (PeerError, BenchError) as error:
                    failed.append(f"{name}: {error}")
                    _say(failed[-1])
                await field.store.empty()
                seconds[name] = perf_counter() - began
        return Report(
            version=version("signalstack"),
            at=datetime.now(UTC),
            quick=plan is QUICK,
            machine=Machine(
                cpus=os.cpu_count() or 1,
                platform=platform.platform(),
                python=platform.python_version(),
                postgresql=host.version,
            ),
            seconds=seconds,
            axes=found,
            failed=failed,
        )


@asynccontextmanager
async def _open(folder: Path, ours: Peer, host: Host, plan: Plan) -> AsyncGenerator[Field]:
    file = folder / f"{OURS}.stamps"
    async with (
        open_client(ours, host.url, file) as client,
        await psycopg.AsyncConnection.connect(host.url, autocommit=True) as conn,
        await psycopg.AsyncConnection.connect(host.url, autocommit=True) as idler,
    ):
        store = GrownStore(conn)
        bench = Bench(peer=ours, host=host, file=file, client=client, store=store, size=plan.size)
        yield Field(bench=bench, store=store, idler=idler, plan=plan, say=_say)


@click.command()
@click.option("--quick", is_flag=True, help="Small counts: shows that it works, not how fast.")
@click.option("--only", default="", help=f"Of {', '.join(AXES)}; with commas between.")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), default="bench-growth.json",
    show_default=True, help="Where the report goes.",
)  # fmt: skip
def main(*, quick: bool, only: str, json_path: str) -> None:
    """Measure SignalStack as it grows."""
    # The same orderly end as at Ctrl-C: processes and folders of ours go with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The embedded PostgreSQL takes 200 connections: of 32 workers, five each and no more.
    os.environ["DB_POOL_MAX"] = "1"  # noqa: TID251 - it is written for the workers, not read
    names = set(filter(None, only.split(","))) or set(AXES)
    if unknown := names - set(AXES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(AXES)}")
    with tempfile.TemporaryDirectory(prefix="signalstack-growth-") as folder:
        Path(folder).chmod(0o711)  # root's PostgreSQL runs as another user
        chosen = [name for name in AXES if name in names]
        report = anyio.run(
            partial(_measure, Path(folder), chosen, QUICK if quick else Plan()),
            backend_options={"use_uvloop": sys.platform == "linux"},
        )
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    Path(json_path).write_bytes(text + b"\n")
    show(report, Console(width=None if sys.stdout.isatty() else _WIDTH))
    _say(f"the report is in {json_path}")
    if report.failed:
        raise SystemExit(1)


def _say(text: str) -> None:
    click.echo(f"growth: {text}", err=True)


if __name__ == "__main__":
    main()
