"""Procrastinate: LISTEN on (its default), a pool of 20, and as many jobs at once as gain something.

https://procrastinate.readthedocs.io/en/stable/howto/production/concurrency.html
https://procrastinate.readthedocs.io/en/stable/howto/basics/batch_defer.html
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import procrastinate
import serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

# A worker fetches one job after another, whatever runs beside it: more at once gain nothing.
_CONCURRENCY = 10


def _app(config: serve.Config, stamp: Callable[[int], None]) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=config.url, min_size=4, max_size=20)
    app = procrastinate.App(connector=connector)

    @app.task(name="stamp")
    async def run(slot: int) -> None:
        stamp(slot)

    return app


class _Client:
    def __init__(self, app: procrastinate.App) -> None:
        self._task = app.tasks["stamp"]

    async def one(self, slot: int) -> object:
        return await self._task.defer_async(slot=slot)

    async def many(self, slots: Sequence[int]) -> object:
        return await self._task.batch_defer_async(*({"slot": slot} for slot in slots))


@asynccontextmanager
async def _open(config: serve.Config) -> AsyncGenerator[_Client]:
    app = _app(config, lambda _: None)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        yield _Client(app)


async def _work(config: serve.Config, stamp: Callable[[int], None]) -> None:
    app = _app(config, stamp)
    async with app.open_async():
        serve.say({"ready": True})
        await app.run_worker_async(concurrency=_CONCURRENCY)


serve.main(_open, _work)
