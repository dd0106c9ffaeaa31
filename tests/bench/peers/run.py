"""Measures SignalStack beside those that people would pick instead, on one machine in one run.

    python tests/bench/peers/run.py --only signalstack,graphile --grown

Each peer has a server of its own, and whoever is not measured is paused. Rounds are interleaved:
each measurement is taken of every peer before the next one begins, in empty tables and in grown
ones, and in every other round in the opposite order. With `--build PATH` another checkout of ours
is one more peer, so that a change is seen beside what was before it:

    python tests/bench/peers/run.py --only signalstack --build ../before --measure turns,drain
"""

from __future__ import annotations

import os
import platform
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import click
import msgspec
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script's own folder comes first otherwise

from bench.peers import install, measures, pace
from bench.peers.figures import GROWN, Report, found, judge
from bench.peers.measures import QUICK, Bench, Size
from bench.peers.process import PeerError
from bench.peers.roster import OURS, PEERS, Peer, Server, build
from bench.peers.servers import open_store, run_server
from bench.peers.table import show
from signalstack.bench.figure import BenchError, Machine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bench.peers.figures import Values

_ROUNDS: Final = 3
_WIDTH: Final = 200
_PACE_S: Final = 4.0
_NAMES: Final = tuple(peer.name for peer in PEERS)
_TURNS: Final = "turns"


async def _http(bench: Bench) -> Values:
    told = await bench.client.ask("http", quick=bench.size is QUICK)
    return {name.removeprefix("http."): value for name, value in told.items()}


MEASURES: Final[dict[str, Callable[..., Awaitable[Values]]]] = {
    "idle": measures.idle,
    "steady": measures.steady,
    "drain.1": partial(measures.drain, workers=1),
    "drain.2": partial(measures.drain, workers=2),
    "create.1": partial(measures.create, callers=1, batch=1, workers=0),
    "create.batch": partial(measures.create, callers=1, batch=1_000, workers=0),
    "create.64": partial(measures.create, callers=64, batch=1, workers=1),
}
# What is promised of us alone, or against another figure of ours.
OUR_MEASURES: Final[dict[str, Callable[[Bench], Awaitable[Values]]]] = {
    "busy": partial(measures.steady, rate=1_000),
    "rest": measures.rest,
    "herd": partial(measures.idle, workers=8),
    "http": _http,
}
# Their names up to the dot; the last one is of builds beside each other.
_MEASURED: Final = tuple(
    dict.fromkeys(name.partition(".")[0] for name in (*MEASURES, *OUR_MEASURES, _TURNS))
)


class Run:
    """Takes the measurements and keeps what they find; one that fails is noted, the rest go on."""

    def __init__(self, benches: Sequence[Bench], rounds: int, measures: Sequence[str]) -> None:
        self._benches = benches
        self._rounds = rounds
        self._measures = measures
        self.runs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.failed: list[str] = []
        self.paces: list[float] = []

    async def all(self) -> None:
        """Take every measurement in every round."""
        for bench in self._benches:
            if bench.grown:
                _say(f"growing {bench.peer.name}")
                with bench.awake():
                    await measures.grow(bench)
        empty = [bench for bench in self._benches if not bench.grown]
        ours = [bench for bench in empty if bench.peer.name == OURS]
        for number in range(self._rounds):
            _say(f"round {number + 1} of {self._rounds}")
            self.paces.append(await pace.slow_share(_PACE_S))
            await self._round(MEASURES, self._benches[:: -1 if number % 2 else 1])
            await self._take_turns([bench for bench in empty if bench.peer.ours])
            await self._round(OUR_MEASURES, ours)

    async def _round(
        self, chosen: dict[str, Callable[[Bench], Awaitable[Values]]], benches: Sequence[Bench]
    ) -> None:
        for name, measure in chosen.items():
            if self._is_wanted(name):
                for bench in benches:
                    await self._take(bench, name, measure)

    async def _take_turns(self, builds: Sequence[Bench]) -> None:
        if len(builds) < 2 or not self._is_wanted(_TURNS):
            return
        try:
            with ExitStack() as stack:
                for bench in builds:
                    stack.enter_context(bench.awake())
                found_each = await measures.turns(builds)
        except (PeerError, BenchError) as error:
            self._note_failure(f"{_TURNS}: {error}")
            return
        for bench, values in zip(builds, found_each, strict=True):
            self._note(bench.peer.name, _TURNS, values)

    def _is_wanted(self, name: str) -> bool:
        return not self._measures or name.partition(".")[0] in self._measures

    async def _take(
        self, bench: Bench, name: str, measure: Callable[[Bench], Awaitable[Values]]
    ) -> None:
        peer, name = bench.peer.name, GROWN + name if bench.grown else name
        try:
            with bench.awake():
                values = await measure(bench)
        except (PeerError, BenchError) as error:
            self._note_failure(f"{peer} {name}: {error}")
            return
        self._note(peer, name, values)

    def _note_failure(self, text: str) -> None:
        self.failed.append(text)
        _say(text)

    def _note(self, peer: str, name: str, values: Values) -> None:
        for key, value in values.items():
            self.runs[peer][name if key == "rate" else f"{name}.{key}"].append(value)
        told = ", ".join(f"{key} {value:,.2f}" for key, value in values.items())
        _say(f"{peer} {name}: {told}")


async def _measure(
    folder: Path,
    peers: Sequence[Peer],
    measures: Sequence[str],
    *,
    rounds: int,
    quick: bool,
    grown: bool,
) -> Report:
    began = perf_counter()
    install.install(peers)
    versions = {peer.title: install.version(peer) for peer in peers}
    async with AsyncExitStack() as stack:
        benches: list[Bench] = []
        for peer in peers:
            open_one = partial(_open, stack, peer, folder, QUICK if quick else Size())
            benches.append(await open_one())
            if grown and peer.server is Server.POSTGRESQL:
                benches.append(await open_one(grown=True))
        run = Run(benches, 1 if quick else rounds, measures)
        await run.all()
    figures = {
        name: {figure: found(runs) for figure, runs in by_figure.items()}
        for name, by_figure in run.runs.items()
    }
    return Report(
        at=datetime.now(UTC),
        seconds=perf_counter() - began,
        quick=quick,
        machine=Machine(
            cpus=os.cpu_count() or 1,
            platform=platform.platform(),
            python=platform.python_version(),
            postgresql=max(bench.host.version for bench in benches) or "none",
        ),
        slow_share=statistics.mean(run.paces),
        versions=versions,
        builds={peer.name: peer.title for peer in peers if peer.checkout is not None},
        figures=figures,
        verdicts=judge({n: {f: v.value for f, v in by.items()} for n, by in figures.items()}),
        failed=run.failed,
    )


async def _open(
    stack: AsyncExitStack, peer: Peer, folder: Path, size: Size, *, grown: bool = False
) -> Bench:
    name = f"{peer.name}-grown" if grown else peer.name
    host = await stack.enter_async_context(run_server(peer, folder / name))
    file = folder / f"{name}.stamps"
    bench = Bench(
        peer=peer,
        host=host,
        file=file,
        client=await stack.enter_async_context(measures.open_client(peer, host.url, file)),
        store=await stack.enter_async_context(open_store(peer, host.url)),
        size=size,
        grown=grown,
    )
    stack.callback(host.resume)  # a paused one would not hear that it is to end
    bench.pause()
    return bench


@click.command()
@click.option("--quick", is_flag=True, help="Small counts, one round: shows that it works.")
@click.option("--grown", is_flag=True, help="Also in tables with 1 M finished and 1 M future jobs.")
@click.option(
    "--rounds", type=click.IntRange(1), default=_ROUNDS, show_default=True,
    help="How often each measurement is taken; their median is told.",
)  # fmt: skip
@click.option("--only", default="", help=f"Of {', '.join(_NAMES)}; with commas between.")
@click.option(
    "--build",
    "builds",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout of SignalStack, after `make setup` there, to be held against this one.",
)
@click.option(
    "--measure", default="", help=f"Of {', '.join(_MEASURED)} (of builds); with commas between."
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), default="bench-peers.json",
    show_default=True, help="Where the report goes.",
)  # fmt: skip
def main(
    *,
    quick: bool,
    grown: bool,
    rounds: int,
    only: str,
    builds: Sequence[Path],
    measure: str,
    json_path: str,
) -> None:
    """Measure SignalStack beside others."""
    # The same orderly end as at Ctrl-C: processes and folders of ours go with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = set(filter(None, only.split(","))) or set(_NAMES)
    if unknown := names - set(_NAMES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(_NAMES)}")
    wanted = list(filter(None, measure.split(",")))
    if unknown := set(wanted) - set(_MEASURED):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: not one of {', '.join(_MEASURED)}")
    peers = [peer for peer in PEERS if peer.name in names]
    peers += [build(number, checkout) for number, checkout in enumerate(builds, 1)]
    with tempfile.TemporaryDirectory(prefix="signalstack-peers-") as folder:
        Path(folder).chmod(0o711)  # root's PostgreSQL runs as another user
        measure_all = partial(_measure, Path(folder), peers, wanted)
        try:
            report = anyio.run(
                partial(measure_all, rounds=rounds, quick=quick, grown=grown),
                backend_options={"use_uvloop": sys.platform == "linux"},
            )
        except install.InstallError as error:
            raise click.ClickException(str(error)) from error
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    Path(json_path).write_bytes(text + b"\n")
    show(report, Console(width=None if sys.stdout.isatty() else _WIDTH))
    _say(f"the report is in {json_path}")


def _say(text: str) -> None:
    click.echo(f"peers: {text}", err=True)


if __name__ == "__main__":
    main()
