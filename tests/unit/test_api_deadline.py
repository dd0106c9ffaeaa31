"""One timer for the steps of all requests: who is cancelled, and who is not."""

from __future__ import annotations

import asyncio
from time import monotonic

import anyio
import pytest

from signalstack.api.deadline import Deadlines

STEP_S = 0.02


class _LateError(Exception):
    """The step took too long."""


async def test_a_step_that_takes_too_long_is_cancelled_and_named() -> None:
    with pytest.raises(_LateError):
        await Deadlines().within(STEP_S, anyio.sleep_forever(), _LateError)


async def test_a_step_that_ends_in_time_answers() -> None:
    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    assert await Deadlines().within(60, answer(), _LateError) == 7


async def test_each_step_has_its_own_time() -> None:
    deadlines = Deadlines()
    ended: list[str] = []
    over = anyio.Event()

    async def wait_patiently() -> None:
        await deadlines.within(60, over.wait(), _LateError)
        ended.append("patient")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_patiently)
        await anyio.lowlevel.checkpoint()
        for _ in range(2):  # the timer is set anew for who comes next
            with pytest.raises(_LateError):
                await deadlines.within(STEP_S, anyio.sleep_forever(), _LateError)
        ended.append("hasty")
        over.set()

    assert ended == ["hasty", "patient"]


async def test_a_later_step_is_cancelled_by_the_timer_that_was_set_for_a_sooner_one() -> None:
    deadlines = Deadlines()

    async def be_late() -> None:
        with pytest.raises(_LateError):
            await deadlines.within(3 * STEP_S, anyio.sleep_forever(), _LateError)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(be_late)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(_LateError):
                await deadlines.within(STEP_S, anyio.sleep_forever(), _LateError)


async def test_a_late_loop_costs_nobody_what_has_come_already() -> None:
    come = anyio.Event()

    def arrive_while_the_loop_is_held_up() -> None:
        began = monotonic()
        while monotonic() - began < 2 * STEP_S:
            pass
        come.set()

    asyncio.get_running_loop().call_soon(arrive_while_the_loop_is_held_up)
    deadlines = Deadlines()
    await deadlines.within(STEP_S, come.wait(), _LateError)
    await deadlines.within(60, anyio.lowlevel.checkpoint(), _LateError)


async def test_what_cancels_from_outside_goes_through() -> None:
    with anyio.CancelScope() as outside:
        outside.cancel()
        await Deadlines().within(60, anyio.sleep_forever(), _LateError)

    assert outside.cancelled_caught
