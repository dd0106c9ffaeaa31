"""A worker that tells nobody anything: what the work takes without telemetry.

`python -m signalstack.bench.silent`; otherwise it is a `signalstack worker`.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from signalstack import settings as environment
from signalstack import wiring
from signalstack.telemetry.observer import Telemetry
from signalstack.wiring import Roles

if TYPE_CHECKING:
    from signalstack.core.stage import Fact
    from signalstack.settings import Settings
    from signalstack.telemetry.exposition import Bound
    from signalstack.wiring import Held


class Silent(Telemetry):
    """Forgets every fact, and serves no metrics."""

    def tell(self, fact: Fact) -> None:
        """Forget it."""

    def start(self, at: Bound) -> int:  # noqa: ARG002 - nothing listens there
        """Serve nothing."""
        return 0


async def main() -> None:
    """Work until told to stop."""
    settings = environment.override(environment.load(), METRICS_PORT="0")
    async with wiring.hold_addresses(settings, Roles(api=False, worker=True)) as held:
        await _work(settings, held)


async def _work(settings: Settings, held: Held) -> None:
    database = await wiring.reach_database(settings)
    shutdown = anyio.Event()
    serve = partial(
        wiring.run,
        settings,
        database,
        held,
        observer=Silent(version="bench"),
        shutdown=shutdown,
    )
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            await tasks.start(serve)
            click.echo("metrics none")
            await anext(signals)
            shutdown.set()


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": sys.platform == "linux"})
