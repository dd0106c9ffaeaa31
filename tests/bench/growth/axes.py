"""The axes: what grows along each of them, and what is measured at each point."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec
import psycopg

from bench.growth.figures import Point, point
from bench.growth.plan import Plan
from bench.growth.rows import GrownStore
from bench.growth.standing import open_standing
from bench.peers import measures
from bench.peers.measures import Bench
from signalstack.bench.stamps import Stamps

if TYPE_CHECKING:
    from bench.growth.standing import Standing
    from bench.peers.figures import Values


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """What an axis works with; `idler` is a connection for a transaction that does nothing."""

    bench: Bench
    store: GrownStore
    idler: psycopg.AsyncConnection
    plan: Plan
    say: Callable[[str], None]


async def backlog(field: Field) -> list[Point]:
    """More and more jobs are due and wait in another queue, which no worker serves.

    They lie in the table and in the indexes that a claim reads, unlike jobs of the future, which
    have an index of their own.
    """
    points: list[Point] = []
    for rows in field.plan.backlog:
        await field.store.grow(rows)
        points.append(await _load(field, rows))
    return points


async def history(field: Field) -> list[Point]:
    """More and more jobs have ended, over the last five days."""
    points: list[Point] = []
    for rows in field.plan.history:
        await field.store.remember(rows)
        points.append(await _load(field, rows))
    return points


async def tenants(field: Field) -> list[Point]:
    """The same number of jobs comes from more and more tenants, in turns."""
    points: list[Point] = []
    for count in field.plan.tenants:
        await field.bench.client.ask("tenants", count=count)
        points.append(await _load(field, count))
    await field.bench.client.ask("tenants", count=1)
    return points


async def workers(field: Field) -> list[Point]:
    """More and more worker processes listen: for single jobs, and for a backlog."""
    points: list[Point] = []
    for count in field.plan.workers:
        rounds: list[Values] = []
        async with open_standing(field.bench, count) as standing:
            rounds += [await _drain(standing, count) for _ in range(field.plan.drains)]
            idle = await standing.counting(partial(measures.idle, standing, count))
        rounds.append(_named("idle", idle))
        points.append(_told(field, point(count, rounds)))
    return points


async def horizon(field: Field) -> list[Point]:
    """Jobs come at a steady rate, window by window, while one transaction stays open."""
    plan = field.plan
    count = plan.window_s * plan.rate
    Stamps.make(field.bench.file, count)
    async with open_standing(field.bench, 1):
        began = anyio.current_time() + plan.window_s

        async def windows(number: int, *, held: bool) -> list[Point]:
            return [await _window(field, began, count, held=held) for _ in range(number)]

        before = await windows(1, held=False)
        async with field.idler.transaction():
            # With an id of its own, and a snapshot that it keeps.
            await field.idler.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await field.idler.execute(b"SELECT pg_current_xact_id()")
            held = await windows(plan.held, held=True)
        return [*before, *held, *await windows(plan.after, held=False)]


async def _window(field: Field, began: float, count: int, *, held: bool) -> Point:
    """Send jobs for one window, which is told by its end."""
    stamps = Stamps.make(field.bench.file, count)
    taken = await measures.stream(field.bench, stamps, count, field.plan.rate)
    found = _named("steady", measures.spread(taken))
    return _told(field, point(anyio.current_time() - began, [found], held=held))


async def _load(field: Field, x: int) -> Point:
    """Drain with one worker process, and then send it jobs at a steady rate."""
    async with open_standing(field.bench, 1) as standing:
        rounds = [await _drain(standing, 1) for _ in range(field.plan.drains)]
        rounds.append(_named("steady", await measures.steady(standing, field.plan.rate)))
    return _told(field, point(x, rounds))


async def _drain(standing: Standing, count: int) -> Values:
    drained = await standing.counting(partial(measures.drain, standing, count))
    return _named("drain", drained)


def _named(measure: str, values: Values) -> Values:
    return {f"{measure}.{name}": value for name, value in values.items()}


def _told(field: Field, found: Point) -> Point:
    told = ", ".join(f"{name} {figure.value:,.2f}" for name, figure in found.figures.items())
    field.say(f"{found.x:,.0f}: {told}")
    return found
