"""What it costs to wait for a job's end: `Prefer: wait` beside a plain create."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.bench.figure import Figure, latency
from signalstack.bench.http import connected, make_request
from signalstack.bench.probe import Prober, Slots, stamp_job
from signalstack.bench.rig import QUEUE
from signalstack.bench.stamps import Stamps

if TYPE_CHECKING:
    from signalstack.bench.rig import Rig

_CREATED: Final = 201
_OK: Final = 200
_WAIT_S: Final = 10


async def measure_wait(rig: Rig) -> list[Figure]:
    """Measure both in turns, with an API and a worker process at rest."""
    cold, count = (4, 25) if rig.quick else (20, 200)
    await rig.clear()
    file = rig.folder / "wait.stamps"
    slots = Slots(Stamps.make(file, cold + count))
    probes = Prober()
    live = make_request("GET", "/live")
    noop = msgspec.json.encode({"type": "noop", "queue": QUEUE})
    create = make_request("POST", "/v1/jobs", key=rig.key, body=noop)
    wait = make_request("POST", "/v1/jobs", key=rig.key, prefer=f"wait={_WAIT_S}", body=noop)
    async with rig.api() as url, rig.workers(1), connected(url) as http:
        for number in range(cold + count):
            if number == cold:
                probes.forget()
            slot, arrival = slots.take()
            await probes.take("dispatch", partial(rig.enqueue, stamp_job(file, slot)), arrival)
            await probes.take("create", partial(http.expect, create, _CREATED))
            # A wait that ran out would be answered by 202: it is no figure, it ends the bench.
            await probes.take("waited", partial(http.expect, wait, _OK))
            await probes.take("live", partial(http.expect, live, _OK))
    return _figures(probes)


def _figures(probes: Prober) -> list[Figure]:
    return [
        latency(
            "wait.waited",
            "wait: POST /v1/jobs with Prefer: wait, job ended",
            probes.returns("waited"),
            floor="wait.live",
        ),
        latency(
            "wait.create",
            "wait: POST /v1/jobs answered",
            probes.returns("create"),
            floor="wait.live",
        ),
        latency(
            "wait.dispatch",
            "wait: enqueue called → handler starts",
            probes.arrivals("dispatch"),
        ),
        latency("wait.live", "floor: GET /live answered, beside waits", probes.returns("live")),
    ]
