"""Slots and the worst that handlers can do to them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import msgspec
import pytest

from signalstack.core.handler import Fail, Retry
from signalstack.core.job import Outcome
from signalstack.core.stage import Finished, Started
from signalstack.core.subscription import Unfilled
from signalstack.handlers.payment import Currency
from signalstack.worker import executor
from signalstack.worker.executor import RESULT_LIMIT
from working import Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from signalstack.core.handler import Context

PATIENCE_S: Final = 10
_leaky: Final[ContextVar[str]] = ContextVar("leaky", default="clean")


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


class Order(msgspec.Struct):
    """A payload with a shape."""

    number: int
    currency: Currency = "EUR"


class Unreadable(Exception):  # noqa: N818 - it is about its text
    def __str__(self) -> str:
        raise RuntimeError("and no text either")


async def _raise(error: BaseException) -> object:
    await anyio.lowlevel.checkpoint()
    raise error


async def _await_a_cancelled_task() -> object:
    inner = asyncio.get_running_loop().create_task(asyncio.Event().wait())
    inner.cancel()
    return await inner


async def _cancel_own_task_and_wait() -> object:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return await anyio.sleep_forever()


async def _group(*errors: BaseException) -> object:
    async with anyio.create_task_group() as tasks:
        for error in errors:
            tasks.start_soon(_raise, error)
    return None


async def _leave_a_scope_open() -> object:
    anyio.CancelScope().__enter__()
    return await anyio.lowlevel.checkpoint()


async def _leave_a_cancelled_scope_open() -> object:
    anyio.CancelScope().__enter__().cancel()
    return await anyio.sleep_forever()


async def _leave_a_task_group_open() -> object:
    tasks = anyio.create_task_group()
    await tasks.__aenter__()
    tasks.start_soon(anyio.sleep, 0.01)
    return None


@pytest.mark.parametrize(
    ("misdeed", "status", "error"),
    [
        (lambda: _raise(ValueError("no")), "failed", "ValueError: no"),
        (lambda: _raise(SystemExit(3)), "failed", "SystemExit: 3"),
        (lambda: _raise(KeyboardInterrupt()), "failed", "KeyboardInterrupt"),
        (lambda: _raise(GeneratorExit()), "failed", "GeneratorExit"),
        (lambda: _raise(asyncio.CancelledError()), "failed", "CancelledError"),
        (lambda: _raise(Unreadable()), "failed", "Unreadable: (its text cannot be read)"),
        (lambda: _raise(Fail("a\x00b\ud800")), "failed", "a\ufffdb?"),
        (_await_a_cancelled_task, "failed", "CancelledError"),
        (_cancel_own_task_and_wait, "failed", "CancelledError"),
        (_leave_a_scope_open, "succeeded", None),
        (_leave_a_cancelled_scope_open, "failed", "CancelledError: "),
        (_leave_a_task_group_open, "succeeded", None),
        (lambda: _group(ValueError("one"), KeyError("two")), "failed", "ValueError: one; KeyError"),
        (lambda: _group(ValueError("one"), Fail("for good")), "failed", "for good"),
        (lambda: _group(asyncio.CancelledError()), "succeeded", None),
    ],
    ids=[
        "exception",
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "CancelledError",
        "unreadable",
        "unstorable",
        "cancelled inner task",
        "cancelled itself",
        "open scope",
        "open cancelled scope",
        "open task group",
        "group",
        "group with Fail",
        "group with a cancelled member",
    ],
)
async def test_whatever_a_handler_does_the_only_slot_goes_on(
    shop: Shop, misdeed: Callable[[], Awaitable[object]], status: str, error: str | None
) -> None:
    async def offend(_payload: Any, _context: Context) -> object:
        return await misdeed()

    async with shop.worker({"offend": (Any, offend)}, concurrency=1) as crew:
        jobs = [await shop.enqueue("offend", max_attempts=1) for _ in range(2)]
        jobs.append(await shop.enqueue("noop"))
        for job in jobs:
            await crew.ended(job)
    for job in jobs[:2]:
        ran = await shop.ran(job)
        assert ran.status == status
        assert ran.last_error == error or (error and (ran.last_error or "").startswith(error))
    assert (await shop.ran(jobs[2])).status == "succeeded"


@pytest.mark.parametrize("kind", [ValueError, Fail, Retry])
async def test_a_trace_is_told_the_class_of_what_a_handler_raised_and_not_its_text(
    shop: Shop, kind: type[Exception]
) -> None:
    async def quote(payload: Any, _context: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise kind(f"invalid literal: {payload}")

    async with shop.worker({"quote": (Any, quote)}) as crew:
        job = await shop.enqueue("quote", "hunter2", max_attempts=1)
        await crew.ended(job)
        (span,) = [span for span in crew.facts.spans if span.kind == "consumer"]
    assert (span.failure, span.attributes["error.type"]) == (kind.__name__, kind.__name__)
    assert "hunter2" in ((await shop.ran(job)).last_error or "")


async def test_retry_inside_a_handlers_own_task_group_counts(shop: Shop) -> None:
    async def grouped(_payload: Any, context: Context) -> int:
        if context.attempt == 1:
            await _group(Retry("busy", after_s=0))
        return context.attempt

    async with shop.worker({"grouped": (Any, grouped)}) as crew:
        job = await shop.enqueue("grouped")
        await crew.ended(job)
    assert (await shop.ran(job)).result == 2
    assert [past.error for past in await shop.past(job)] == ["busy"]


async def test_a_handler_that_fails_as_it_is_stopped_hurts_nobody(shop: Shop) -> None:
    async def fail_to_clean_up(_payload: Any, _context: Context) -> None:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError as error:
            raise BaseExceptionGroup("both", [error, ValueError("not clean")]) from None

    async with shop.worker({"untidy": (Any, fail_to_clean_up)}, concurrency=1) as crew:
        job = await shop.enqueue("untidy", timeout_s=0.05, max_attempts=1)
        await crew.ended(job)
        await crew.ended(await shop.enqueue("noop"))
    assert (await shop.ran(job)).last_error == "ValueError: not clean"


@pytest.mark.parametrize("burst", [32, 1])
async def test_a_handler_that_cancels_its_task_and_returns_hurts_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, burst: int
) -> None:
    monkeypatch.setattr(executor, "_BURST", burst)  # after so many jobs a slot gives way

    async def cancel(_payload: Any, _context: Context) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done all the same"

    async with shop.worker({"cancel": (Any, cancel)}, concurrency=2) as crew:
        jobs = [await shop.enqueue("cancel") for _ in range(6)]
        for job in jobs:
            await crew.ended(job)
    assert {(await shop.ran(job)).result for job in jobs} == {"done all the same"}


async def test_a_slot_outlives_a_cancellation_that_a_past_handler_left_behind(shop: Shop) -> None:
    """What cancels the task comes when the slot is idle, and once more while another job runs."""
    slots: list[asyncio.Task[Any]] = []
    gate = anyio.Event()

    async def lend(_payload: Any, _context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        slots.append(task)

    async def wait(_payload: Any, context: Context) -> int:
        await lend(_payload, context)
        if context.attempt == 1:
            await gate.wait()
        return context.attempt

    handlers = {"lend": (Any, lend), "wait": (Any, wait)}
    async with shop.worker(handlers, concurrency=1) as crew:
        await crew.ended(await shop.enqueue("lend"))
        slots[-1].cancel()
        job = await shop.enqueue("wait")
        await crew.facts.seen(Started, job=job)
        slots[-1].cancel()
        await crew.ended(job)
    assert (await shop.ran(job)).result == 2


async def test_a_handler_may_cancel_a_scope_of_its_own(shop: Shop) -> None:
    async def scoped(_payload: Any, _context: Context) -> bool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return scope.cancelled_caught

    async with shop.worker({"scoped": (Any, scoped)}) as crew:
        job = await shop.enqueue("scoped")
        await crew.ended(job)
    assert (await shop.ran(job)).result is True


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_context_variables_of_one_job_do_not_reach_the_next(
    shop: Shop, plain: object
) -> None:
    def leak(payload: str, _context: Context) -> str:
        found = _leaky.get()
        _leaky.set(payload)
        return found

    async def leak_async(payload: str, context: Context) -> str:
        return leak(payload, context)

    async with shop.worker({"leak": (str, leak if plain else leak_async)}, concurrency=1) as crew:
        jobs = await shop.enqueue_many("leak", ["one", "two", "three"])
        for job in jobs:
            await crew.ended(job)
    assert [(await shop.ran(job)).result for job in jobs] == ["clean"] * 3


async def test_a_task_that_a_handler_leaves_behind_outlives_its_job(shop: Shop) -> None:
    ended = anyio.Event()
    go = anyio.Event()

    async def behind() -> None:
        await go.wait()
        ended.set()

    async def leave(_payload: Any, _context: Context) -> None:
        asyncio.get_running_loop().create_task(behind()).add_done_callback(lambda _: None)

    async with shop.worker({"leave": (Any, leave)}, concurrency=1) as crew:
        await crew.ended(await shop.enqueue("leave"))
        go.set()
        with anyio.fail_after(PATIENCE_S):
            await ended.wait()
        await crew.ended(await shop.enqueue("noop"))


async def test_an_async_handler_that_takes_too_long_is_cancelled(shop: Shop) -> None:
    async def slow(_payload: Any, context: Context) -> float:
        if context.attempt == 1:
            await anyio.sleep_forever()
        return context.deadline.timestamp()

    async with shop.worker({"slow": (Any, slow)}) as crew:
        job = await shop.enqueue("slow", timeout_s=0.05)
        await crew.ended(job)
    assert (await shop.ran(job)).status == "succeeded"
    assert [past.error for past in await shop.past(job)] == [
        "TimeoutError: the job ran longer than 0.05 s"
    ]


async def test_the_workers_own_limit_holds_where_the_job_names_none(shop: Shop) -> None:
    async def slow(_payload: Any, _context: Context) -> None:
        await anyio.sleep_forever()

    async with shop.worker({"slow": (Any, slow)}, job_timeout_s=0.06) as crew:
        job = await shop.enqueue("slow", max_attempts=1)
        await crew.ended(job)
    assert (await shop.ran(job)).last_error == "TimeoutError: the job ran longer than 0.06 s"


async def test_no_job_runs_longer_than_any_may_whoever_stored_it(shop: Shop) -> None:
    async def slow(_payload: Any, _context: Context) -> None:
        await anyio.sleep_forever()

    async with shop.worker({"slow": (Any, slow)}, max_job_timeout_s=0.06) as crew:
        job = await shop.enqueue("slow", timeout_s=3_600, max_attempts=1)
        await crew.ended(job)
    assert (await shop.ran(job)).last_error == "TimeoutError: the job ran longer than 0.06 s"


async def test_a_plain_function_that_takes_too_long_is_left_alone_and_told(shop: Shop) -> None:
    told = threading.Event()
    go_on = threading.Event()

    def slow(_payload: Any, context: Context) -> str:
        go_on.wait(PATIENCE_S)
        if context.cancelled:
            told.set()
        return "too late"

    async with shop.worker({"slow": (Any, slow)}) as crew:
        job = await shop.enqueue("slow", timeout_s=0.05, max_attempts=1)
        await crew.ended(job)
        go_on.set()
        assert await anyio.to_thread.run_sync(told.wait, PATIENCE_S)
    ran = await shop.ran(job)
    assert (ran.status, ran.result) == ("failed", None)
    assert ran.last_error == "TimeoutError: the job ran longer than 0.05 s"


@pytest.mark.parametrize(
    ("kind", "error"),
    [(StopIteration, "RuntimeError: "), (SystemExit, "SystemExit"), (ValueError, "ValueError")],
)
async def test_exceptions_of_plain_functions_are_judged_alike(
    shop: Shop, kind: type[BaseException], error: str
) -> None:
    def refuse(_payload: Any, _context: Context) -> None:
        raise kind

    async with shop.worker({"refuse": (Any, refuse)}, concurrency=1) as crew:
        job = await shop.enqueue("refuse", max_attempts=1)
        await crew.ended(job)
        await crew.ended(await shop.enqueue("noop"))
    assert ((await shop.ran(job)).last_error or "").startswith(error)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: {1, object()}, "the result is not JSON: "),
        (lambda: "\ud800", "the result is not JSON: "),
        (lambda: "x" * RESULT_LIMIT, f"the result has {RESULT_LIMIT + 2} bytes, more than"),
        (lambda: {"a": ["b\x00c"]}, "PostgreSQL cannot store the result: "),
        (lambda: msgspec.Raw(b"{nonsense"), "PostgreSQL cannot store the result: "),
    ],
    ids=["object", "surrogate", "too large", "NUL", "raw"],
)
async def test_a_result_that_cannot_be_kept_fails_the_job_and_no_other(
    shop: Shop, make: Callable[[], object], error: str
) -> None:
    async def give(payload: int, _context: Context) -> object:
        return make() if payload == 13 else payload

    async with shop.worker({"give": (int, give)}, concurrency=30) as crew:
        jobs = await shop.enqueue_many("give", list(range(30)))
        for number, job in enumerate(jobs):
            if number != 13:
                await crew.ended(job)
        await crew.ended(jobs[13])
    ran = await shop.ran(jobs[13])
    assert (ran.status, ran.attempt, ran.result) == ("failed", 1, None)
    assert (ran.last_error or "").startswith(error)
    assert [(await shop.ran(job)).result for job in jobs[:13]] == list(range(13))


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"number": "one"}, "/number: Expected `int`, got `str`"),
        ({"number": 1, "currency": "eur"}, "/currency: must be three capital letters, such as EUR"),
        ([], "Expected `object`, got `array`"),
    ],
)
async def test_a_payload_that_does_not_fit_fails_at_once(
    shop: Shop, payload: object, told: str
) -> None:
    async def order(payload: Order, _context: Context) -> int:
        return payload.number

    async with shop.worker({"order": order}) as crew:
        job = await shop.enqueue("order", payload)
        await crew.ended(job)
    ran = await shop.ran(job)
    assert (ran.status, ran.attempt) == ("failed", 1)
    assert ran.last_error == f"the payload does not fit the job type: {told}"


async def test_a_payload_that_was_not_filled_in_fails_whatever_its_type_takes(shop: Shop) -> None:
    ran: list[object] = []

    async def anything(payload: Any, _context: Context) -> None:
        ran.append(payload)

    unfilled = Unfilled(template_error="it costs too much", subscription_id=shop.user_id)
    async with shop.worker({"anything": (Any, anything)}) as crew:
        job = await shop.enqueue("anything", msgspec.to_builtins(unfilled))
        like_it = await shop.enqueue("anything", {"template_error": "and more", "n": 1})
        await crew.ended(job)
        await crew.ended(like_it)
    failed = await shop.ran(job)
    assert (failed.status, failed.attempt) == ("failed", 1)
    assert failed.last_error == "the subscription made no payload: it costs too much"
    assert ran == [{"template_error": "and more", "n": 1}]


async def test_the_log_tells_which_line_of_a_handler_failed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async def lacking(payload: dict[str, int], _context: Context) -> int:
        return payload["b"]

    async with shop.worker({"lacking": (dict[str, int], lacking)}) as crew:
        await crew.ended(await shop.enqueue("lacking", {"a": 1}, max_attempts=1))

    line = inspect.getsourcelines(lacking)[1] + 1
    (told,) = (record for record in caplog.records if record.msg == "job_failed")
    assert vars(told)["fields"]["at"] == f"{__file__}:{line}"


async def test_a_job_type_without_a_handler_is_left_for_another_worker(shop: Shop) -> None:
    async with shop.worker({}) as crew:
        waiting = await shop.enqueue("unheard_of", max_attempts=2)
        await crew.facts.seen(Finished, job=waiting, outcome=Outcome.RETRIED)
        job = await shop.enqueue("unheard_of", max_attempts=1)
        await crew.ended(job)
    ran = await shop.ran(job)
    assert ran.status == "failed"
    assert ran.last_error == "this worker has no handler for the job type 'unheard_of'"


async def test_quick_jobs_let_the_event_loop_breathe(shop: Shop) -> None:
    """Something else on the loop gets its turn while hundreds of jobs that never wait are run."""
    turns = 0
    turns_at_start: list[int] = []

    async def never_waits(_payload: Any, _context: Context) -> None:
        turns_at_start.append(turns)

    async def other_work() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    jobs = await shop.enqueue_many("never_waits", [None] * 600)
    async with (
        anyio.create_task_group() as tasks,
        shop.worker({"never_waits": (Any, never_waits)}, concurrency=2) as crew,
    ):
        tasks.start_soon(other_work)
        await crew.facts.seen(Started, count=len(jobs), timeout_s=PATIENCE_S)
        tasks.cancel_scope.cancel()
    busiest = max(turns_at_start.count(turn) for turn in set(turns_at_start))
    assert busiest <= 2 * 33
