"""The life of jobs, model-checked: any order of events leaves PostgreSQL as a plain model says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from contexts import Witness
from recording import RecordingObserver
from rows import (
    add_user,
    add_worker,
    connect,
    end_lease,
    new_job,
    new_write,
    open_dispatch,
    open_link,
    rows,
    value,
)
from signalstack.core.errors import ConflictError, NotFoundError, SignalStackError
from signalstack.core.job import (
    TERMINAL,
    TRANSITIONS,
    WAITING,
    JobChange,
    JobFilter,
    Outcome,
    Status,
    Wake,
)
from signalstack.store import chores
from signalstack.store.claims import NIL, Lease
from signalstack.store.intake import SESSION, STATEMENTS, Intake
from signalstack.store.outcomes import Ended
from signalstack.store.pool import Pool
from signalstack.usecases import browse, control

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from anyio.from_thread import BlockingPortal

    from rows import Database
    from signalstack.store.dispatch import Dispatch

LATER_S = 3_600.0


class World:
    """The real parts: what a worker, the API and the maintenance leader do to a database."""

    def __init__(self, db: Database, pool: Pool, intake: Intake, dispatch: Dispatch) -> None:
        self._db = db
        self._pool = pool
        self._intake = intake
        self._dispatch = dispatch
        self._token = 0
        self._user_id = UUID(int=0)
        self._worker_id = UUID(int=0)

    async def begin(self) -> None:
        """Forget everything; a tenant and a worker come in."""
        for table in ("jobs", "finished_jobs", "attempts", "metrics_delta", "workers"):
            await self._db.execute(b"DELETE FROM signalstack." + table.encode())
        self._token += 1
        self._user_id = await add_user(self._db, f"tenant {self._token} {time()}")
        self._worker_id = await add_worker(self._db)

    async def enqueue(self, later: bool, max_attempts: int) -> UUID:  # noqa: FBT001 - a portal passes positions alone
        job = new_job(max_attempts=max_attempts, delay_s=LATER_S if later else None)
        await self._intake.submit(new_write(self._user_id, job))
        return job.id

    async def claim(self, limit: int) -> list[Lease]:
        self._token += 1
        claim = await self._dispatch.claim(
            ["default"],
            worker_id=self._worker_id,
            token=self._token,
            limit=limit,
            lanes=10,
            cursor=NIL,
            cause=Wake.POLL,
        )
        return claim.leases

    async def settle(self, lease: Lease, outcome: Outcome, started: bool, delay_s: float) -> bool:  # noqa: FBT001 - as above
        """Record an end as the settler does; tell whether the run was still ours."""
        now = time()

        def ended(outcome: Outcome) -> Ended:
            return Ended(
                lease=lease,
                outcome=outcome,
                started_at=now if started else None,
                finished_at=now,
                delay_s=delay_s,
            )

        done = await self._dispatch.settle([ended(outcome)], worker_id=self._worker_id)
        if done.cancelled:
            done = await self._dispatch.settle(
                [ended(Outcome.CANCELLED)], worker_id=self._worker_id
            )
        return bool(done.settled)

    async def lose_worker(self) -> None:
        await end_lease(self._db, self._worker_id)
        async with self._pool.connection() as conn:
            await chores.rescue(conn, orphans=False)
        self._worker_id = await add_worker(self._db)

    async def let_time_pass(self) -> None:
        await self._db.execute("UPDATE signalstack.jobs SET run_at = now() WHERE delayed")
        await self._dispatch.promote()

    async def cancel(self, job_id: UUID) -> None:
        await control.cancel(self._pool, self._user_id, job_id, observer=RecordingObserver())

    async def retry(self, job_id: UUID) -> None:
        await control.retry(self._pool, self._user_id, job_id)

    async def hide(self, job_id: UUID) -> None:
        await control.hide(self._pool, self._user_id, job_id)

    async def amend(self, job_id: UUID, change: JobChange) -> None:
        await control.amend(self._pool, self._user_id, job_id, change, job_types={})

    async def seen(self) -> dict[UUID, tuple[Status, int, int]]:
        """Tell status, attempt and max_attempts of all jobs that are not hidden."""
        page = await browse.list_jobs(self._pool, self._user_id, JobFilter(), limit=200)
        assert page.below is None
        return {job.id: (job.status, job.attempt, job.max_attempts) for job in page.jobs}

    async def runs(self, job_id: UUID) -> list[tuple[int, Outcome | None]]:
        found = await browse.list_attempts(self._pool, self._user_id, job_id)
        return [(run.attempt, run.outcome) for run in found]

    async def counts(self) -> tuple[int, ...]:
        """Tell what analytics sum up to, and how many rows jobs have."""
        (row,) = await rows(
            self._db,
            """
            SELECT
                coalesce(sum(jobs_created), 0), coalesce(sum(jobs_succeeded), 0),
                coalesce(sum(jobs_failed), 0), coalesce(sum(jobs_cancelled), 0),
                (SELECT count(*) FROM signalstack.jobs),
                (SELECT count(*) FROM signalstack.finished_jobs)
            FROM signalstack.metrics_delta
            """,
        )
        return row


@asynccontextmanager
async def open_world(dsn: str) -> AsyncGenerator[World]:
    """Give the parts on a database, once its server is old enough for dead workers to be found."""
    observer = RecordingObserver()
    async with (
        connect(dsn) as db,
        Pool(dsn, Witness()) as pool,
        open_link(dsn, observer, STATEMENTS, settings=SESSION) as link,
        open_dispatch(dsn, observer) as dispatch,
    ):
        await value(
            db,
            "SELECT pg_sleep(extract(EPOCH FROM pg_postmaster_start_time() - now()) + 3.1)::text",
        )
        yield World(db, pool, Intake(link, observer), dispatch)


@dataclass
class Modelled:
    """What a job should be."""

    status: Status
    max_attempts: int
    attempt: int = 0
    token: int | None = None
    asked: bool = False
    hidden: bool = False
    runs: list[tuple[int, Outcome]] = field(default_factory=list[tuple[int, Outcome]])

    def end(self, status: Status, outcome: Outcome | None) -> None:
        """Let the present run be over."""
        if outcome is not None:
            self.runs.append((self.attempt, outcome))
        self.status, self.token, self.asked = status, None, False

    def all_runs(self) -> list[tuple[int, Outcome | None]]:
        going_on = [(self.attempt, None)] if self.status is Status.RUNNING else []
        return [*self.runs, *going_on]


class Lifecycle(RuleBasedStateMachine):
    """Does the same to the world and to the model."""

    ids = Bundle("ids")
    leases = Bundle("leases")
    spent = Bundle("spent")

    def __init__(self, portal: BlockingPortal, world: World) -> None:
        super().__init__()
        self._call = portal.call
        self._world = world
        self._jobs: dict[UUID, Modelled] = {}
        self._before: dict[UUID, Modelled] = {}
        self._call(world.begin)

    @rule(target=ids, later=st.booleans(), max_attempts=st.integers(1, 3))
    def enqueue(self, *, later: bool, max_attempts: int) -> UUID:
        job_id = self._call(self._world.enqueue, later, max_attempts)
        status = Status.SCHEDULED if later else Status.PENDING
        self._jobs[job_id] = Modelled(status, max_attempts)
        return job_id

    @rule(target=leases, limit=st.integers(1, 3))
    def claim(self, limit: int) -> Any:
        claimed: list[Lease] = self._call(self._world.claim, limit)
        due = sorted(key for key, job in self._jobs.items() if job.status is Status.PENDING)
        assert [lease.job_id for lease in claimed] == due[:limit]
        for lease in claimed:
            job = self._jobs[lease.job_id]
            job.status, job.attempt, job.token = Status.RUNNING, job.attempt + 1, lease.token
            assert lease.attempt == job.attempt
        return multiple(*claimed)

    @rule(
        target=spent,
        lease=consumes(leases),
        outcome=st.sampled_from([*TERMINAL]).map(lambda status: Outcome(status.value)),
    )
    def finish(self, lease: Lease, outcome: Outcome) -> Lease:
        self._settle(lease, outcome)
        return lease

    @rule(target=spent, lease=consumes(leases), later=st.booleans())
    def fail_for_now(self, lease: Lease, *, later: bool) -> Lease:
        self._settle(lease, Outcome.RETRIED, delay_s=LATER_S if later else 0.0)
        return lease

    @rule(target=spent, lease=consumes(leases), started=st.booleans())
    def hand_back(self, lease: Lease, *, started: bool) -> Lease:
        self._settle(lease, Outcome.RELEASED, started=started)
        return lease

    @rule(lease=spent, outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.RETRIED]))
    def come_too_late(self, lease: Lease, outcome: Outcome) -> None:
        assert self._jobs[lease.job_id].token != lease.token
        self._settle(lease, outcome)

    @rule()
    def lose_worker(self) -> None:
        self._call(self._world.lose_worker)
        for job in self._jobs.values():
            if job.status is not Status.RUNNING:
                continue
            if job.asked:
                job.end(Status.CANCELLED, Outcome.CANCELLED)
            elif job.attempt < job.max_attempts:
                job.end(Status.PENDING, Outcome.LOST)
            else:
                job.end(Status.FAILED, Outcome.FAILED)

    @rule()
    def let_time_pass(self) -> None:
        self._call(self._world.let_time_pass)
        for job in self._jobs.values():
            if job.status is Status.SCHEDULED:
                job.status = Status.PENDING

    @rule(job_id=ids)
    def cancel(self, job_id: UUID) -> None:
        job = self._jobs[job_id]
        allowed = job.status not in TERMINAL or job.status is Status.CANCELLED
        if not self._ask(job, self._world.cancel, job_id, allowed=allowed):
            return
        if job.status is Status.RUNNING:
            job.asked = True
        elif job.status in WAITING:
            job.status = Status.CANCELLED

    @rule(job_id=ids)
    def retry(self, job_id: UUID) -> None:
        job = self._jobs[job_id]
        allowed = job.status in {Status.FAILED, Status.CANCELLED}
        if self._ask(job, self._world.retry, job_id, allowed=allowed):
            job.status = Status.PENDING
            job.max_attempts = max(job.max_attempts, job.attempt + 1)

    @rule(job_id=ids)
    def hide(self, job_id: UUID) -> None:
        job = self._jobs[job_id]
        if self._ask(job, self._world.hide, job_id, allowed=job.status in TERMINAL):
            job.hidden = True

    @rule(job_id=ids, max_attempts=st.integers(1, 3))
    def amend(self, job_id: UUID, max_attempts: int) -> None:
        job = self._jobs[job_id]
        change = JobChange(run_at=None, max_attempts=max_attempts)
        allowed = job.status in WAITING and job.attempt == 0
        if self._ask(job, self._world.amend, job_id, change, allowed=allowed):
            job.status, job.max_attempts = Status.PENDING, max_attempts

    @invariant()
    def the_world_is_as_the_model_says(self) -> None:
        shown = {
            key: (job.status, job.attempt, job.max_attempts)
            for key, job in self._jobs.items()
            if not job.hidden
        }
        assert self._call(self._world.seen) == shown

    @invariant()
    def analytics_are_equal_to_a_recount(self) -> None:
        statuses = [job.status for job in self._jobs.values()]
        finished = sum(status in TERMINAL for status in statuses)
        assert self._call(self._world.counts) == (
            len(statuses),
            statuses.count(Status.SUCCEEDED),
            statuses.count(Status.FAILED),
            statuses.count(Status.CANCELLED),
            len(statuses) - finished,
            finished,
        )

    @invariant()
    def no_transition_is_outside_the_table(self) -> None:
        for key, before in self._before.items():
            after = self._jobs[key].status
            assert after is before.status or after in TRANSITIONS[before.status]
        self._before = deepcopy(self._jobs)

    def teardown(self) -> None:
        for key, job in self._jobs.items():
            if not job.hidden:
                assert self._call(self._world.runs, key) == job.all_runs()

    def _settle(
        self, lease: Lease, outcome: Outcome, *, started: bool = True, delay_s: float = 0.0
    ) -> None:
        job = self._jobs[lease.job_id]
        ours = self._call(self._world.settle, lease, outcome, started, delay_s)
        assert ours == (job.token == lease.token)
        if not ours:
            return
        if outcome.value in TERMINAL:
            job.end(Status(outcome.value), outcome)
        elif job.asked:
            job.end(Status.CANCELLED, Outcome.CANCELLED if started else None)
        else:
            job.end(Status.SCHEDULED if delay_s else Status.PENDING, outcome if started else None)
            job.attempt -= 0 if started else 1
            # A run that was handed back did not fail: another one is allowed in its place.
            job.max_attempts += 1 if started and outcome is Outcome.RELEASED else 0

    def _ask(
        self,
        job: Modelled,
        act: Callable[..., Awaitable[None]],
        *arguments: object,
        allowed: bool,
    ) -> bool:
        """Do what may be refused; tell whether it was done, which it is exactly when allowed."""
        refusal: type[SignalStackError] | None = None
        try:
            self._call(act, *arguments)
        except (ConflictError, NotFoundError) as error:
            refusal = type(error)
        expected = NotFoundError if job.hidden else None if allowed else ConflictError
        assert refusal is expected
        return refusal is None


@pytest.mark.timeout(400)  # takes some seconds; but a failure takes minutes to be made small
def test_jobs_live_as_the_model_says(database_url: str) -> None:
    with (
        start_blocking_portal("asyncio", {"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(open_world(database_url)) as world,
    ):
        # It is called without arguments, as the type that it is declared to be.
        machine = cast("type[RuleBasedStateMachine]", partial(Lifecycle, portal, world))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=50,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
