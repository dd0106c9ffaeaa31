"""How soon a job starts: at idle, one by one, and at a steady rate that waits for nobody."""

from __future__ import annotations

import random
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.bench.figure import BenchError, Figure, latency
from signalstack.bench.handlers import STAMP
from signalstack.bench.http import connected, make_request
from signalstack.bench.rig import QUEUE
from signalstack.bench.stamps import Stamps
from signalstack.core.job import JobRequest
from signalstack.store import baseline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from signalstack.bench.http import Caller
    from signalstack.bench.rig import Rig

_CHANNEL: Final = "signalstack_bench"
_GAP_S: Final = (0.005, 0.025)
_ARRIVAL_S: Final = 10.0
_CREATED: Final = 201
_OK: Final = 200
_PROBES: Final = 5
_STEADY_RATE: Final = 200


class _Moments(msgspec.Struct):
    """When each step of one probe was, in nanoseconds."""

    called: int
    returned: int
    arrived: int = 0


class _Idle:
    """Takes turns between what is measured and its floors, so that noise hits all alike."""

    def __init__(self, rig: Rig, file: Path, stamps: Stamps, http: Caller) -> None:
        self._rig = rig
        self._file = file
        self._stamps = stamps
        self._http = http
        self._live = make_request("GET", "/live")
        self._slot = 0
        self._rng = random.Random(20_260_000)  # noqa: S311 - jitter is no secret
        self.notified: list[_Moments] = []
        self.enqueued: list[_Moments] = []
        self.requested: list[_Moments] = []
        self.inserted: list[_Moments] = []
        self.answered: list[_Moments] = []

    async def round(self) -> None:
        """Do each thing once, each after a pause."""
        await self._probe(self.notified, self._notify, arrives=True)
        await self._probe(self.enqueued, self._enqueue, arrives=True)
        await self._probe(self.inserted, self._insert, arrives=False)
        await self._probe(self.requested, self._request, arrives=True)
        await self._probe(self.answered, self._answer, arrives=False)

    def forget(self) -> None:
        """Drop what was measured so far: everything was cold."""
        for moments in (
            self.notified,
            self.enqueued,
            self.requested,
            self.inserted,
            self.answered,
        ):
            moments.clear()

    async def _probe(
        self, into: list[_Moments], action: Callable[[int], Awaitable[None]], *, arrives: bool
    ) -> None:
        await anyio.sleep(self._rng.uniform(*_GAP_S))
        slot, self._slot = self._slot, self._slot + 1
        called = monotonic_ns()
        await action(slot)
        moments = _Moments(called, monotonic_ns())
        if arrives:
            moments.arrived = await self._stamps.wait(slot, within_s=_ARRIVAL_S)
        into.append(moments)

    async def _notify(self, slot: int) -> None:
        await self._rig.link.run(baseline.notify_call(_CHANNEL, str(slot)))

    async def _enqueue(self, slot: int) -> None:
        await self._rig.enqueue(_job(self._file, slot))

    async def _insert(self, _slot: int) -> None:
        await self._rig.link.run(baseline.insert_call(self._rig.user_id, 1))

    async def _request(self, slot: int) -> None:
        body = msgspec.json.encode(
            {"type": STAMP, "queue": QUEUE, "payload": {"file": str(self._file), "slot": slot}}
        )
        request = make_request("POST", "/v1/jobs", key=self._rig.key, body=body)
        await _expect(self._http, request, _CREATED)

    async def _answer(self, _slot: int) -> None:
        await _expect(self._http, self._live, _OK)


async def measure_idle(rig: Rig) -> list[Figure]:
    """Measure single jobs, each after a pause, with an API and a worker process at rest."""
    cold, count = (4, 25) if rig.quick else (20, 300)
    await rig.clear()
    file = rig.folder / "idle.stamps"
    stamps = Stamps.make(file, (cold + count) * _PROBES)
    async with (
        rig.api() as url,
        rig.workers(1),
        rig.hearing(_CHANNEL, file),
        connected(url) as http,
    ):
        idle = _Idle(rig, file, stamps, http)
        for number in range(cold + count):
            if number == cold:
                idle.forget()
            await idle.round()
    return _idle_figures(idle)


def _idle_figures(idle: _Idle) -> list[Figure]:
    return [
        latency(
            "idle.commit_to_start",
            "idle: enqueue returned → handler starts",
            [m.arrived - m.returned for m in idle.enqueued],
            floor="idle.notify",
        ),
        latency(
            "idle.call_to_start",
            "idle: enqueue called → handler starts",
            [m.arrived - m.called for m in idle.enqueued],
            floor="idle.notify",
        ),
        latency(
            "idle.request_to_start",
            "idle: request sent → handler starts",
            [m.arrived - m.called for m in idle.requested],
            floor="idle.live",
        ),
        latency(
            "idle.enqueue",
            "idle: enqueue called → returned",
            [m.returned - m.called for m in idle.enqueued],
            floor="idle.insert",
        ),
        latency(
            "idle.notify",
            "floor: NOTIFY called → heard elsewhere (round trip)",
            [m.arrived - m.called for m in idle.notified],
        ),
        latency(
            "idle.insert",
            "floor: bare insert + commit",
            [m.returned - m.called for m in idle.inserted],
        ),
        latency(
            "idle.live",
            "floor: GET /live answered",
            [m.returned - m.called for m in idle.answered],
        ),
    ]


async def measure_steady(rig: Rig) -> list[Figure]:
    """Measure an open loop: jobs come when they are due, however long earlier ones take."""
    count = 200 if rig.quick else 2_000
    floor_count = count // 4
    await rig.clear()
    file = rig.folder / "steady.stamps"
    stamps = Stamps.make(file, count + floor_count)

    async def enqueue(slot: int) -> None:
        await rig.enqueue(_job(file, slot))

    async def notify(slot: int) -> None:
        await rig.link.run(baseline.notify_call(_CHANNEL, str(slot)))

    async with rig.workers(1), rig.hearing(_CHANNEL, file):
        floor = await _open_loop(notify, stamps, range(count, count + floor_count))
        started = await _open_loop(enqueue, stamps, range(count))
    return [
        latency(
            "steady.call_to_start",
            f"{_STEADY_RATE}/s: enqueue called → handler starts",
            [m.arrived - m.called for m in started],
            floor="steady.notify",
        ),
        latency(
            "steady.notify",
            f"floor: {_STEADY_RATE}/s NOTIFY called → heard elsewhere",
            [m.arrived - m.called for m in floor],
        ),
    ]


async def _open_loop(
    action: Callable[[int], Awaitable[None]], stamps: Stamps, slots: range
) -> list[_Moments]:
    seen: dict[int, _Moments] = {}

    async def probe(slot: int) -> None:
        called = monotonic_ns()
        await action(slot)
        seen[slot] = _Moments(called, monotonic_ns())

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number, slot in enumerate(slots):
            await anyio.sleep_until(began + number / _STEADY_RATE)
            tasks.start_soon(probe, slot)
    for slot, moments in seen.items():
        moments.arrived = await stamps.wait(slot, within_s=_ARRIVAL_S)
    return list(seen.values())


def _job(file: Path, slot: int) -> JobRequest:
    return JobRequest(type=STAMP, queue=QUEUE, payload={"file": str(file), "slot": slot})


async def _expect(http: Caller, request: bytes, status: int) -> None:
    answered = await http.call(request)
    if answered != status:
        raise BenchError(f"the API answered {answered} instead of {status}")
