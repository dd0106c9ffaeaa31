"""One timer for the steps of all requests: who is cancelled, and who is not."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import anyio
import pytest

from signalstack.api.deadline import Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")
STEP_S = 0.02


class _LateError(Exception):
    """The step took too long."""


class _LaterError(Exception):
    """The step after it took too long."""


async def _within(deadlines: Deadlines, seconds: float, work: Awaitable[T]) -> T:
    """Do one step alone."""
    with deadlines.steps() as steps:
        steps.allow(seconds, _LateError)
        return await work
    raise AssertionError("a context that swallows what it ends with")


async def test_a_step_that_takes_too_long_is_cancelled_and_named() -> None:
    with pytest.raises(_LateError):
        await _within(Deadlines(), STEP_S, anyio.sleep_forever())


async def test_a_step_that_ends_in_time_answers() -> None:
    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    assert await _within(Deadlines(), 60, answer()) == 7


async def test_each_step_has_its_own_time() -> None:
    deadlines = Deadlines()
    ended: list[str] = []
    over = anyio.Event()

    async def wait_patiently() -> None:
        await _within(deadlines, 60, over.wait())
        ended.append("patient")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait_patiently)
        await anyio.lowlevel.checkpoint()
        for _ in range(2):  # the timer is set anew for who comes next
            with pytest.raises(_LateError):
                await _within(deadlines, STEP_S, anyio.sleep_forever())
        ended.append("hasty")
        over.set()

    assert ended == ["hasty", "patient"]


async def test_the_steps_of_a_request_follow_each_other_with_a_time_of_their_own() -> None:
    async def request() -> None:
        with Deadlines().steps() as steps:
            steps.allow(3 * STEP_S, _LateError)
            await anyio.sleep(STEP_S)
            steps.allow(60, _LateError)  # longer than what is left of the one before
            await anyio.sleep(4 * STEP_S)
            steps.allow(STEP_S, _LaterError)  # sooner than the timer was set for
            await anyio.sleep_forever()

    with anyio.fail_after(10), pytest.raises(_LaterError):
        await request()


async def test_a_step_that_fails_is_no_late_one() -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise KeyError

    with pytest.raises(KeyError):
        await _within(Deadlines(), 60, fail())


async def test_a_later_step_is_cancelled_by_the_timer_that_was_set_for_a_sooner_one() -> None:
    deadlines = Deadlines()

    async def be_late() -> None:
        with pytest.raises(_LateError):
            await _within(deadlines, 3 * STEP_S, anyio.sleep_forever())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(be_late)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(_LateError):
                await _within(deadlines, STEP_S, anyio.sleep_forever())


async def test_a_late_loop_costs_nobody_what_has_come_already() -> None:
    come = anyio.Event()

    def arrive_while_the_loop_is_held_up() -> None:
        began = monotonic()
        while monotonic() - began < 2 * STEP_S:
            pass
        come.set()

    asyncio.get_running_loop().call_soon(arrive_while_the_loop_is_held_up)
    deadlines = Deadlines()
    await _within(deadlines, STEP_S, come.wait())
    await _within(deadlines, 60, anyio.lowlevel.checkpoint())


async def test_what_cancels_from_outside_goes_through() -> None:
    with anyio.CancelScope() as outside:
        outside.cancel()
        await _within(Deadlines(), 60, anyio.sleep_forever())

    assert outside.cancelled_caught
