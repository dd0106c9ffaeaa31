"""How soon a job starts: at idle, one by one, and at a steady rate that waits for nobody."""

from __future__ import annotations

import random
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.bench.figure import Figure, latency
from signalstack.bench.handlers import STAMP
from signalstack.bench.http import connected, make_request
from signalstack.bench.probe import ARRIVAL_S, Moments, Prober, Slots, stamp_job
from signalstack.bench.rig import QUEUE
from signalstack.bench.stamps import Stamps
from signalstack.core.event import NewEvent
from signalstack.core.ids import new_id, new_id_text
from signalstack.core.subscription import JobTemplate, SubscriptionRequest
from signalstack.store import baseline
from signalstack.usecases import subscribe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from signalstack.bench.http import Caller
    from signalstack.bench.rig import Rig

_CHANNEL: Final = "signalstack_bench"
_CREATED: Final = 201
_OK: Final = 200
_ARRIVING: Final = 6
_STEADY_RATE: Final = 200
_EVENT: Final = "signalstack-bench.stamp"
_TEMPLATE: Final = {"file": {"$": "payload.file"}, "slot": {"$": "payload.slot"}}
_SUBSCRIPTION: Final = SubscriptionRequest(
    name="bench", event_type=_EVENT, job=JobTemplate(type=STAMP, queue=QUEUE, payload=_TEMPLATE)
)


class _Idle:
    """Takes turns between what is measured and its floors, so that noise hits all alike."""

    def __init__(self, rig: Rig, file: Path, slots: Slots, http: Caller) -> None:
        self._rig = rig
        self._file = file
        self._slots = slots
        self._http = http
        self._live = make_request("GET", "/live")
        self._rng = random.Random(20_260_002)  # noqa: S311 - an order is no secret
        self.probes = Prober()

    async def round(self) -> None:
        """Do each thing once, after a pause, in any order: each warms caches for the next."""
        insert = baseline.insert_call(self._rig.user_id, 1)
        steps = [
            partial(self._arrive, "notify", self._notify),
            partial(self._arrive, "enqueue", self._enqueue),
            partial(self._arrive, "keyed", self._enqueue_keyed),
            partial(self._arrive, "event", self._accept),
            partial(self._arrive, "named", self._accept_named),
            partial(self.probes.take, "insert", partial(self._rig.link.run, insert)),
            partial(self._arrive, "request", self._request),
            partial(self.probes.take, "live", partial(self._http.expect, self._live, _OK)),
        ]
        self._rng.shuffle(steps)
        for step in steps:
            await step()

    async def _arrive(self, name: str, action: Callable[[int], Awaitable[None]]) -> None:
        slot, arrival = self._slots.take()
        await self.probes.take(name, partial(action, slot), arrival)

    async def _notify(self, slot: int) -> None:
        await self._rig.link.run(baseline.notify_call(_CHANNEL, str(slot)))

    async def _enqueue(self, slot: int) -> None:
        await self._rig.enqueue(stamp_job(self._file, slot))

    async def _enqueue_keyed(self, slot: int) -> None:
        await self._rig.enqueue(stamp_job(self._file, slot), key=new_id_text())

    async def _accept(self, slot: int, external_id: str | None = None) -> None:
        event = NewEvent(
            id=new_id(),
            type=_EVENT,
            payload=msgspec.json.encode({"file": str(self._file), "slot": slot}),
            external_id=external_id,
        )
        await self._rig.acceptor.accept_event(
            self._rig.user_id, event, idempotency_key=None, fingerprint=None, traceparent=None
        )

    async def _accept_named(self, slot: int) -> None:
        await self._accept(slot, new_id_text())

    async def _request(self, slot: int) -> None:
        body = msgspec.json.encode(
            {"type": STAMP, "queue": QUEUE, "payload": {"file": str(self._file), "slot": slot}}
        )
        request = make_request("POST", "/v1/jobs", key=self._rig.key, body=body)
        await self._http.expect(request, _CREATED)


async def measure_idle(rig: Rig) -> list[Figure]:
    """Measure single jobs, each after a pause, with an API and a worker process at rest."""
    cold, count = (4, 25) if rig.quick else (20, 300)
    await rig.clear()
    await subscribe.create(rig.pool, rig.user_id, _SUBSCRIPTION, registry=rig.registry)
    file = rig.folder / "idle.stamps"
    stamps = Stamps.make(file, (cold + count) * _ARRIVING)
    async with (
        rig.api() as url,
        rig.workers(1),
        rig.hearing(_CHANNEL, file),
        connected(url) as http,
    ):
        idle = _Idle(rig, file, Slots(stamps), http)
        for number in range(cold + count):
            if number == cold:
                idle.probes.forget()
            await idle.round()
    return _idle_figures(idle.probes)


def _idle_figures(probes: Prober) -> list[Figure]:
    return [
        latency(
            "idle.commit_to_start",
            "idle: enqueue returned → handler starts",
            probes.arrivals_after_return("enqueue"),
            floor="idle.notify",
        ),
        latency(
            "idle.call_to_start",
            "idle: enqueue called → handler starts",
            probes.arrivals("enqueue"),
            floor="idle.notify",
        ),
        latency(
            "idle.keyed_to_start",
            "idle: enqueue with a key called → handler starts",
            probes.arrivals("keyed"),
            floor="idle.notify",
        ),
        latency(
            "idle.event_to_start",
            "idle: event sent in → its job's handler starts",
            probes.arrivals("event"),
            floor="idle.notify",
        ),
        latency(
            "idle.named_to_start",
            "idle: event with an id of its sender's → handler starts",
            probes.arrivals("named"),
            floor="idle.notify",
        ),
        latency(
            "idle.request_to_start",
            "idle: request sent → handler starts",
            probes.arrivals("request"),
            floor="idle.live",
        ),
        latency(
            "idle.enqueue",
            "idle: enqueue called → returned",
            probes.returns("enqueue"),
            floor="idle.insert",
        ),
        latency(
            "idle.notify",
            "floor: NOTIFY called → heard elsewhere (round trip)",
            probes.arrivals("notify"),
        ),
        latency(
            "idle.insert",
            "floor: bare insert + commit",
            probes.returns("insert"),
        ),
        latency(
            "idle.live",
            "floor: GET /live answered",
            probes.returns("live"),
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
        await rig.enqueue(stamp_job(file, slot))

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
) -> list[Moments]:
    seen: dict[int, Moments] = {}

    async def probe(slot: int) -> None:
        called = monotonic_ns()
        await action(slot)
        seen[slot] = Moments(called, monotonic_ns())

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number, slot in enumerate(slots):
            await anyio.sleep_until(began + number / _STEADY_RATE)
            tasks.start_soon(probe, slot)
    for slot, moments in seen.items():
        moments.arrived = await stamps.wait(slot, within_s=ARRIVAL_S)
    return list(seen.values())
