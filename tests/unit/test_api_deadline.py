"""One timer for the limits of all requests: who is cancelled, and who is not."""

from __future__ import annotations

import asyncio
from time import monotonic

import anyio
import pytest

from signalstack.api.deadline import Deadlines

STEP_S = 0.02


class _FirstError(Exception):
    """The first step took too long."""


class _SecondError(Exception):
    """The second step took too long."""


async def test_a_step_that_takes_too_long_is_cancelled_and_named() -> None:
    limit = Deadlines().limit()

    with limit:
        limit.start_step(60, _FirstError)
        limit.start_step(STEP_S, _SecondError)
        await anyio.sleep_forever()

    assert isinstance(limit.excess(), _SecondError)


async def test_a_step_begun_in_time_has_its_own_time() -> None:
    deadlines = Deadlines()
    patient, hasty = deadlines.limit(), deadlines.limit()
    ended: list[str] = []

    async def wait_patiently() -> None:
        with patient:
            patient.start_step(STEP_S, _FirstError)
            patient.start_step(60, _SecondError)
            await over.wait()
            ended.append("patient")

    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_patiently)
        await anyio.lowlevel.checkpoint()
        with hasty:
            hasty.start_step(2 * STEP_S, _FirstError)
            await anyio.sleep_forever()
        ended.append("hasty")
        over.set()

    assert ended == ["hasty", "patient"]


async def test_an_end_sooner_than_all_others_is_kept() -> None:
    deadlines = Deadlines()
    later, sooner = deadlines.limit(), deadlines.limit()

    with anyio.fail_after(10), later:
        later.start_step(60, _FirstError)
        with sooner:
            sooner.start_step(STEP_S, _SecondError)
            await anyio.sleep_forever()
        later.start_step(STEP_S, _SecondError)
        await anyio.sleep_forever()

    assert isinstance(later.excess(), _SecondError)


async def test_a_late_loop_costs_nobody_what_has_come_already() -> None:
    limit = Deadlines().limit()
    come = anyio.Event()
    ended = False

    def arrive_while_the_loop_is_held_up() -> None:
        began = monotonic()
        while monotonic() - began < 2 * STEP_S:
            pass
        come.set()

    with limit:
        limit.start_step(STEP_S, _FirstError)
        asyncio.get_running_loop().call_soon(arrive_while_the_loop_is_held_up)
        await come.wait()
        limit.start_step(60, _SecondError)
        await anyio.lowlevel.checkpoint()
        ended = True

    assert ended


async def test_what_cancels_from_outside_goes_through() -> None:
    limit = Deadlines().limit()

    with anyio.CancelScope() as outside:
        with limit:
            limit.start_step(60, _FirstError)
            outside.cancel()
            await anyio.sleep_forever()
        pytest.fail("the limit took a cancellation that was not its own")

    assert outside.cancelled_caught
