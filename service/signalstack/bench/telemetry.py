"""What being seen costs: the same drain with metrics off, with metrics on, and with traces."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import anyio
import anyio.to_thread

from signalstack.bench.drain import drain
from signalstack.bench.figure import Figure, rate
from signalstack.bench.sink import sink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.bench.process import Running
    from signalstack.bench.rig import Rig

_SILENT: Final = "signalstack.bench.silent"
_SCRAPE_S: Final = 1.0  # fifteen times as often as is usual
_SAMPLED: Final = 100  # of so many requests one is sampled
_TITLES: Final = {
    "telemetry.off": "floor: the same drain, metrics off",
    "telemetry.metrics": "drain, metrics on and scraped",
    "telemetry.traces": "drain, traces of 1 % besides",
    "telemetry.roots": "the same, jobs without a trace of their own",
}


async def measure_telemetry(rig: Rig) -> list[Figure]:
    """Drain with one worker process in each of the ways, in turns."""
    jobs, rounds = (3_000, 1) if rig.quick else (50_000, 7)
    rates: dict[str, list[float]] = {name: [] for name in _TITLES}
    with sink() as url:
        traces = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(1 / _SAMPLED),
        }
        for _ in range(rounds):
            for name, found in (
                ("telemetry.off", await drain(rig, jobs, rig.workers(1, module=_SILENT))),
                ("telemetry.metrics", await drain(rig, jobs, _scraped(rig))),
                (
                    "telemetry.traces",
                    await drain(rig, jobs, _scraped(rig, **traces), sampled=_SAMPLED),
                ),
                ("telemetry.roots", await drain(rig, jobs, _scraped(rig, **traces))),
            ):
                rates[name].append(found)
                rig.say(f"{name}: {found:,.0f}/s")
    return [
        rate(name, title, rates[name], floor=None if name == "telemetry.off" else "telemetry.off")
        for name, title in _TITLES.items()
    ]


@asynccontextmanager
async def _scraped(rig: Rig, **variables: str) -> AsyncGenerator[list[Running]]:
    """Run a worker whose metrics are scraped all the time."""
    async with rig.workers(1, **variables) as workers, anyio.create_task_group() as tasks:
        for worker in workers:
            tasks.start_soon(_scrape, worker.metrics_url)
        yield workers
        tasks.cancel_scope.cancel()


async def _scrape(url: str) -> None:
    def fetch() -> None:
        with urlopen(url) as answer:  # noqa: S310 - a URL that a process of ours has said
            answer.read()

    while True:
        await anyio.sleep(_SCRAPE_S)
        await anyio.to_thread.run_sync(fetch, abandon_on_cancel=True)
