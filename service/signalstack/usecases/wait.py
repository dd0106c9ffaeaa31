"""Waiting for news of jobs: any number of waiters in a process, woken by one listening connection.

A notification names a job; whoever waits for it looks at it once, over the connection that brought
the news. Since notifications are hints, all jobs that are waited for are looked at
together now and then, and whenever the listener came back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from signalstack.core.errors import NotFoundError, UnavailableError
from signalstack.core.history import Change, history
from signalstack.core.job import TERMINAL, Watch
from signalstack.store import jobs, watch
from signalstack.usecases import look_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from uuid import UUID

    from signalstack.core.job import Job
    from signalstack.store.pool import Pool

LIMIT: Final = 10_000  # of which one tenant may have half
LOOK_INTERVAL_S: Final = 5.0


class Watcher:
    """One who waits for news of one job."""

    def __init__(self, user_id: UUID, job_id: UUID) -> None:
        self.user_id = user_id
        self.job_id = job_id
        self.what = Watch.ITS_END
        self._told = anyio.Event()

    def tell(self) -> None:
        """Say that there is news."""
        self._told.set()

    async def news(self, timeout_s: float) -> bool:
        """Wait for news since the last that was taken; False when none came in so many seconds."""
        with anyio.move_on_after(timeout_s):
            await self._told.wait()
        if not self._told.is_set():
            return False
        self._told = anyio.Event()
        return True


class Watchers:
    """All who wait in this process; `heard` and `look` belong to a listener of CHANGED.

    `outcome(user_id, job_id)` reads a job that has ended, None while it has not.
    """

    def __init__(
        self,
        pool: Pool,
        outcome: Callable[[UUID, UUID], Awaitable[Job | None]],
        *,
        limit: int = LIMIT,
        look_interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        self._pool = pool
        self._outcome = outcome
        self._limit = limit
        self._share = (limit + 1) // 2
        self._look_interval_s = look_interval_s
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._count: Counter[UUID] = Counter()
        self._total = 0
        self._due = anyio.Event()
        self.closed = False

    async def run(self, shutdown: anyio.Event) -> None:
        """Look for what was not heard, until `shutdown` is set; then nobody waits any more."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_forever)
            await shutdown.wait()
            tasks.cancel_scope.cancel()
        self.closed = True
        self._tell_all(*Watch)

    def heard(self, _channel: str, job_id: str) -> None:
        """Take a notification as a hint: the job it names has changed."""
        for watcher in self._watchers.get(job_id, ()):
            watcher.tell()

    def look(self) -> None:
        """Look at all jobs that are waited for, since notifications may have been missed."""
        self._due.set()
        self._tell_all(Watch.EVERY_CHANGE)

    @contextmanager
    def watch(self, user_id: UUID, job_id: UUID) -> Generator[Watcher]:
        """Register for news of a job, which may be about to be stored: nothing is missed then.

        Raises:
            UnavailableError: too many wait in this process, or too many of this tenant, or it is
                about to end.
        """
        if self.closed:
            raise UnavailableError("this process is about to end")
        if self._total >= self._limit:
            raise UnavailableError(f"{self._limit:,} callers wait for jobs already")
        if self._count[user_id] >= self._share:
            raise UnavailableError(f"{self._share:,} callers of yours wait for jobs already")
        watcher, name = Watcher(user_id, job_id), str(job_id)
        self._watchers[name].add(watcher)
        self._total += 1
        self._count[user_id] += 1
        try:
            yield watcher
        finally:
            self._total -= 1
            self._count[user_id] -= 1
            if not self._count[user_id]:
                del self._count[user_id]
            self._watchers[name].discard(watcher)
            if not self._watchers[name]:
                del self._watchers[name]

    async def end_of(self, user_id: UUID, job_id: UUID, *, timeout_s: float) -> Job:
        """Return the tenant's job when it has ended, or as it is after so many seconds.

        Raises:
            NotFoundError: there is none, or not any more.
        """
        job = await look_up.get_job(self._pool, user_id, job_id)
        if job.status in TERMINAL or timeout_s <= 0 or self.closed:
            return job
        with self.watch(user_id, job_id) as watcher:
            await self.ask(watcher, Watch.ITS_END)
            watcher.tell()  # it may have ended before it was asked to be announced
            return await self.until_ended(watcher, timeout_s=timeout_s)

    async def until_ended(self, watcher: Watcher, *, timeout_s: float) -> Job:
        """Return the job of a watcher when it has ended, or as it is after so many seconds."""
        deadline = anyio.current_time() + timeout_s
        while not self.closed and (left := deadline - anyio.current_time()) > 0:
            if not await watcher.news(left):
                continue
            try:
                job = await self._outcome(watcher.user_id, watcher.job_id)
            except UnavailableError:
                continue  # told again once the listener is back
            if job is not None:
                return job
        return await look_up.get_job(self._pool, watcher.user_id, watcher.job_id)

    async def ask(self, watcher: Watcher, what: Watch) -> None:
        """Have the changes of a watcher's job announced."""
        watcher.what = what
        async with self._pool.connection(watcher.user_id) as conn:
            await watch.ask(conn, user_id=watcher.user_id, job_id=watcher.job_id, watch=what)

    async def story(self, user_id: UUID, job_id: UUID) -> tuple[Job, list[Change]]:
        """Return a job of the tenant's and all its changes, oldest first.

        Raises:
            NotFoundError: there is none, or not any more.
        """
        async with self._pool.connection(user_id) as conn:
            job = await jobs.get(conn, user_id=user_id, job_id=job_id)
            if job is None:
                raise NotFoundError(f"there is no job {job_id}")
            past = await watch.past_runs(conn, user_id=user_id, job_id=job_id)
        return job, history(job, past)

    async def _look_forever(self) -> None:
        while True:
            with anyio.move_on_after(self._look_interval_s):
                await self._due.wait()
            self._due = anyio.Event()
            await self._look()

    async def _look(self) -> None:
        waiting = [next(iter(same)) for same in self._watchers.values()]
        if not waiting:
            return
        try:
            async with self._pool.connection() as conn:
                over = await watch.ended(
                    conn,
                    user_ids=[watcher.user_id for watcher in waiting],
                    job_ids=[watcher.job_id for watcher in waiting],
                )
        except UnavailableError:
            return
        for job_id in over:
            self.heard("", str(job_id))

    def _tell_all(self, *who: Watch) -> None:
        for same in self._watchers.values():
            for watcher in same:
                if watcher.what in who:
                    watcher.tell()
