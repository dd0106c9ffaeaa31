"""How fast jobs come in: one caller, many callers, batches; without and with HTTP."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.bench.figure import Figure, rate
from signalstack.bench.http import make_request
from signalstack.bench.rig import QUEUE
from signalstack.core.job import JobRequest
from signalstack.store import baseline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.bench.rig import Rig

CALLERS: Final = 64
_POOL_SIZES: Final = (10, 20)
_BATCHES: Final = (100, 1_000)
_HTTP_BATCH: Final = 100
_HTTP_BATCH_CALLERS: Final = 8
_CREATED: Final = 201
_OK: Final = 200


class _Rates:
    """Collects the rates of each measurement, round by round."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        self._rig = rig
        self._seconds = seconds
        self.runs: dict[str, list[float]] = {}

    async def take(
        self, name: str, action: Callable[[], Awaitable[None]], *, callers: int = 1, jobs: int = 1
    ) -> None:
        """Have callers repeat an action that stores so many jobs; clear up after them."""
        count = 0
        began = perf_counter()

        async def repeat() -> None:
            nonlocal count
            while perf_counter() - began < self._seconds:
                await action()
                count += jobs

        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(repeat)
        self.runs.setdefault(name, []).append(count / (perf_counter() - began))
        await self._rig.clear()

    async def load(
        self, name: str, url: str, request: bytes, *, callers: int, status: int, jobs: int = 1
    ) -> None:
        """Have connections repeat a request that stores so many jobs; clear up after them."""
        answers = await self._rig.load(
            url, request, connections=callers, seconds=self._seconds, status=status
        )
        self.runs.setdefault(name, []).append(answers * jobs)
        await self._rig.clear()


async def measure_enqueue(rig: Rig) -> list[Figure]:
    """Measure the way in without HTTP, no worker running."""
    seconds, rounds = (0.3, 1) if rig.quick else (2.0, 3)
    rates = _Rates(rig, seconds)
    await rig.clear()
    one = JobRequest(type="noop", queue=QUEUE)

    async def enqueue() -> None:
        await rig.enqueue(one)

    for number in range(rounds):
        rig.say(f"enqueue, round {number + 1} of {rounds}")
        await rates.take("enqueue.1", enqueue)
        await rates.take("enqueue.1.floor", _bare(rig, 1))
        await rates.take(f"enqueue.{CALLERS}", enqueue, callers=CALLERS)
        await _take_one_by_one(rig, rates)
        for size in _BATCHES:
            await rates.take(f"enqueue.batch.{size}", _batch(rig, one, size), jobs=size)
            await rates.take(f"enqueue.batch.{size}.floor", _bare(rig, size), jobs=size)
    return _enqueue_figures(rates.runs)


async def measure_http(rig: Rig) -> list[Figure]:
    """Measure the way in over HTTP, no worker running; callers keep their connections."""
    seconds, rounds = (0.5, 1) if rig.quick else (2.0, 3)
    rates = _Rates(rig, seconds)
    await rig.clear()
    one = {"type": "noop", "queue": QUEUE}
    live = make_request("GET", "/live")
    single = make_request("POST", "/v1/jobs", key=rig.key, body=msgspec.json.encode(one))
    body = msgspec.json.encode({"jobs": [one] * _HTTP_BATCH})
    batch = make_request("POST", "/v1/jobs/batch", key=rig.key, body=body)
    async with rig.api() as url:
        for number in range(rounds):
            rig.say(f"http, round {number + 1} of {rounds}")
            await rates.load("http.live", url, live, callers=CALLERS, status=_OK)
            await rates.load("http.jobs", url, single, callers=CALLERS, status=_CREATED)
            await rates.load(
                "http.batch",
                url,
                batch,
                callers=_HTTP_BATCH_CALLERS,
                status=_CREATED,
                jobs=_HTTP_BATCH,
            )
    runs = rates.runs
    return [
        rate(
            "http.jobs",
            f"POST /v1/jobs, {CALLERS} connections",
            runs["http.jobs"],
            floor="http.live",
        ),
        rate(
            "http.batch",
            f"POST /v1/jobs/batch of {_HTTP_BATCH}, {_HTTP_BATCH_CALLERS} connections (jobs)",
            runs["http.batch"],
            floor="http.live",
        ),
        rate("http.live", f"floor: GET /live, {CALLERS} connections", runs["http.live"]),
    ]


def _bare(rig: Rig, count: int) -> Callable[[], Awaitable[None]]:
    async def insert() -> None:
        await rig.link.run(baseline.insert_call(rig.user_id, count))

    return insert


def _batch(rig: Rig, one: JobRequest, size: int) -> Callable[[], Awaitable[None]]:
    async def enqueue() -> None:
        await rig.enqueue(*[one] * size)

    return enqueue


async def _take_one_by_one(rig: Rig, rates: _Rates) -> None:
    for size in _POOL_SIZES:
        async with baseline.open_one_by_one(rig.database.dsn, size=size) as plain:

            async def insert() -> None:
                await plain.insert(rig.user_id)

            await rates.take(f"one_by_one.{size}", insert, callers=CALLERS)


def _enqueue_figures(runs: dict[str, list[float]]) -> list[Figure]:
    best = [max(pair) for pair in zip(*(runs[f"one_by_one.{n}"] for n in _POOL_SIZES), strict=True)]
    figures = [
        rate("enqueue.1", "enqueue, 1 caller", runs["enqueue.1"], floor="enqueue.1.floor"),
        rate(
            f"enqueue.{CALLERS}",
            f"enqueue, {CALLERS} concurrent callers",
            runs[f"enqueue.{CALLERS}"],
            floor=f"enqueue.{CALLERS}.floor",
        ),
    ]
    figures += [
        rate(
            f"enqueue.batch.{size}",
            f"enqueue, batches of {size:,} (jobs)",
            runs[f"enqueue.batch.{size}"],
            floor=f"enqueue.batch.{size}.floor",
        )
        for size in _BATCHES
    ]
    figures += [
        rate("enqueue.1.floor", "floor: bare insert + commit, 1 caller", runs["enqueue.1.floor"]),
        rate(
            f"enqueue.{CALLERS}.floor",
            f"floor: {CALLERS} callers, a transaction each, pool of 10 or 20",
            best,
        ),
    ]
    return figures + [
        rate(
            f"enqueue.batch.{size}.floor",
            f"floor: bare insert of {size:,} + commit (jobs)",
            runs[f"enqueue.batch.{size}.floor"],
        )
        for size in _BATCHES
    ]
