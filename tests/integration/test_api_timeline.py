"""`GET /v1/jobs/{id}/timeline`: where the time of a job went that a real worker ran."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio

from front import open_front
from signalstack.core.handler import JobType, Retry
from working import open_shop

if TYPE_CHECKING:
    from signalstack.core.handler import Context


async def _on_second(_payload: Any, context: Context) -> None:
    if context.attempt == 1:
        raise Retry("not yet", after_s=0.1)
    await anyio.sleep(0.05)  # work that takes a time which can be found again


TYPES = (JobType(name="on_second", payload=Any, run=_on_second, is_async=True),)


async def test_the_stages_of_a_job_that_was_retried_add_up(database_url: str) -> None:
    handlers = {"on_second": (Any, _on_second)}
    async with (
        open_front(database_url, job_types=TYPES) as front,
        open_shop(database_url) as shop,
        shop.worker(handlers) as crew,
    ):
        job_id = (await front.client.post("/v1/jobs", json={"type": "on_second"})).json()["id"]
        url = f"/v1/jobs/{job_id}/timeline"
        await crew.ended(UUID(job_id))
        told = (await front.client.get(url)).json()
        strange = await front.stranger.get(url)

    stages = told["stages"]
    assert (told["job_id"], told["status"]) == (job_id, "succeeded")
    assert [(stage["stage"], stage["attempt"]) for stage in stages] == [
        *(("store", 1), ("dispatch", 1), ("run", 1)),
        *(("backoff", 2), ("dispatch", 2), ("run", 2), ("settle", 2)),
    ]
    by_name = {(stage["stage"], stage["attempt"]): stage for stage in stages}
    assert by_name["backoff", 2]["duration_ms"] >= 100
    assert by_name["run", 2]["duration_ms"] >= 49  # uvloop's clock counts whole milliseconds
    assert by_name["dispatch", 2]["wake"] == "retry"
    assert [by_name["run", n]["outcome"] for n in (1, 2)] == ["retried", "succeeded"]
    assert by_name["run", 1]["worker"] == by_name["run", 2]["worker"] is not None
    starts = [datetime.fromisoformat(stage["started_at"]) for stage in stages]
    assert starts == sorted(starts)
    # Each begins where the one before ended; clocks may differ by a little.
    assert abs(sum(stage["duration_ms"] for stage in stages) - told["total_ms"]) < 50
    assert strange.status_code == 404
