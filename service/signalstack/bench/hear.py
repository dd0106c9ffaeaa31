"""The floor of waking: a process that hears bare notifications and takes down when.

`python -m signalstack.bench.hear CHANNEL FILE`; a notification's payload is a slot of the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic_ns

import anyio
import click

from signalstack import settings as environment
from signalstack import wiring
from signalstack.bench.stamps import Stamps
from signalstack.store.link import Link


async def main(*words: str) -> None:
    """Hear until ended."""
    channel, file = words
    settings = environment.load()
    database = await wiring.reach_database(settings)
    stamps = Stamps(Path(file))

    def heard(_channel: str, payload: str) -> None:
        stamps.set(int(payload), monotonic_ns())

    link = Link(
        "hear",
        database.direct_dsn,
        (),
        wiring.make_observer(settings, "bench"),
        channels=(channel,),
        on_notify=heard,
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.keep)
        click.echo("ready")


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": sys.platform == "linux"})
