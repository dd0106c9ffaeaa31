"""The command `bench`: chooses a database, takes the measurements one after another, reports."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import click
import msgspec
from rich.console import Console

from signalstack import wiring
from signalstack.bench.drain import measure_drain
from signalstack.bench.enqueue import measure_enqueue, measure_http
from signalstack.bench.figure import Figure, Machine, Report, judge
from signalstack.bench.latency import measure_idle, measure_steady
from signalstack.bench.lists import measure_lists
from signalstack.bench.rig import open_rig, postgresql_version
from signalstack.bench.table import show
from signalstack.bench.telemetry import measure_telemetry
from signalstack.bench.wait import measure_wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from signalstack.bench.rig import Rig
    from signalstack.settings import Settings

_PARTS: Final[dict[str, Callable[[Rig], Awaitable[list[Figure]]]]] = {
    "idle": measure_idle,
    "steady": measure_steady,
    "drain": measure_drain,
    "enqueue": measure_enqueue,
    "http": measure_http,
    "wait": measure_wait,
    "lists": measure_lists,
    "telemetry": measure_telemetry,
}
_WIDTH: Final = 120


@click.command()
@click.option("--quick", is_flag=True, help="Small counts: shows that it works, not how fast.")
@click.option(
    "--only",
    type=click.Choice(list(_PARTS)),
    multiple=True,
    help="Take this measurement alone; may be given several times.",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False), help="Write a report; - is stdout."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder in which the embedded PostgreSQL lives for as long as this takes.",
)
@click.option("--force", is_flag=True, help="Use a DATABASE_URL although it holds live jobs.")
@click.pass_obj
def bench(
    settings: Settings,
    *,
    quick: bool,
    only: Sequence[str],
    json_path: str | None,
    data_dir: Path | None,
    force: bool,
) -> None:
    """Measure dispatch latency and throughput on this machine."""
    # The same orderly end as at Ctrl-C: processes and folders of ours go with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measure = partial(
        _measure, settings, [name for name in _PARTS if not only or name in only], data_dir
    )
    report = anyio.run(
        partial(measure, quick=quick, force=force),
        backend_options={"use_uvloop": sys.platform == "linux"},
    )
    if json_path is not None:
        text = msgspec.json.format(msgspec.json.encode(report), indent=2)
        with click.open_file(json_path, "wb") as file:
            file.write(text + b"\n")
    if json_path != "-":
        show(report, Console(width=None if sys.stdout.isatty() else _WIDTH))


async def _measure(
    settings: Settings, parts: Sequence[str], data_dir: Path | None, *, quick: bool, force: bool
) -> Report:
    began = perf_counter()
    figures: list[Figure] = []
    with _own_folder(data_dir) as folder:
        async with (
            wiring.open_database(settings, data_dir=folder / "data", durable=True) as database,
            open_rig(settings, database, folder, quick=quick, force=force, say=_say) as rig,
        ):
            for name in parts:
                _say(f"measuring {name}")
                figures += await _PARTS[name](rig)
            postgresql = await postgresql_version(rig)
    return Report(
        version=version("signalstack"),
        at=datetime.now(UTC),
        seconds=perf_counter() - began,
        quick=quick,
        machine=Machine(
            cpus=os.cpu_count() or 1,
            platform=platform.platform(),
            python=platform.python_version(),
            postgresql=postgresql,
        ),
        figures=figures,
        verdicts=judge(figures),
    )


@contextmanager
def _own_folder(parent: Path | None) -> Generator[Path]:
    """Make a folder that ends with us, open to the user that root's PostgreSQL runs as."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="signalstack-bench-", dir=parent))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    click.echo(f"bench: {text}", err=True)
