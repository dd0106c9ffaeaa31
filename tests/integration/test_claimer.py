"""What a claimer does about a claim that was committed and whose answer never came."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from recording import RecordingObserver
from signalstack.core.errors import UnavailableError
from signalstack.store.dispatch import CLAIM_SESSION, CLAIM_STATEMENTS, Dispatch
from signalstack.store.link import Link
from signalstack.store.workers import WorkerLease
from signalstack.worker.claimer import Claimer
from working import NEVER_S, open_shop

if TYPE_CHECKING:
    from signalstack.store.dispatch import Claim, Lease


class _Lossy(Dispatch):
    """Breaks the connection between the commit of the first claim and its answer."""

    def __init__(self, claims: Link, settlements: Link) -> None:
        super().__init__(claims, settlements)
        self.broke = anyio.Event()

    async def claim(self, *args: Any, **given: Any) -> Claim:
        claim = await super().claim(*args, **given)
        if claim.leases and not self.broke.is_set():
            self.broke.set()
            raise UnavailableError("the connection broke")
        return claim


async def test_jobs_of_a_claim_whose_answer_was_lost_are_leased_anew(database_url: str) -> None:
    facts = RecordingObserver()
    link = Link("claim", database_url, CLAIM_STATEMENTS, facts, settings=CLAIM_SESSION)
    lease = WorkerLease(database_url, name="test", queues=(), concurrency=10, lease_s=30)
    worker_id = await anyio.to_thread.run_sync(lease.take)
    dispatch = _Lossy(link, link)
    leases: list[Lease] = []
    leased = anyio.Event()

    def put(found: list[Lease]) -> None:
        leases.extend(found)
        leased.set()

    claimer = Claimer(
        dispatch,
        facts,
        queues=(),
        worker_id=lambda: worker_id,
        room=lambda: 10,
        put=put,
        on_claimed=lambda: None,
        on_polled=lambda _token: None,
        poll_interval_s=NEVER_S,
        rng=random.Random(),  # noqa: S311 - a lease token is no secret
    )
    async with open_shop(database_url) as shop, anyio.create_task_group() as tasks:
        jobs = await shop.enqueue_many("noop", [None] * 3)
        await tasks.start(link.keep)
        tasks.start_soon(claimer.claim_forever)
        tasks.start_soon(claimer.look_forever)
        claimer.look()
        with anyio.fail_after(10):
            await dispatch.broke.wait()
        claimer.look()  # as the listener has it do when it is back
        with anyio.fail_after(10):
            await leased.wait()
        assert [one.job_id for one in leases] == jobs
        assert [one.attempt for one in leases] == [1, 1, 1]
        tasks.cancel_scope.cancel()
    lease.close()
