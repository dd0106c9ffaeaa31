"""One worker process: its connections and loops, and how they end without a loss."""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Final
from uuid import UUID

import anyio
import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.job import MAX_TIMEOUT_S, Outcome
from signalstack.core.log import get_logger
from signalstack.core.stage import Serving, SlotsChanged
from signalstack.store import invitations
from signalstack.store.dispatch import (
    CLAIM_SESSION,
    CLAIM_STATEMENTS,
    SESSION,
    SETTLE_STATEMENTS,
    Dispatch,
)
from signalstack.store.invitations import Invitation
from signalstack.store.link import Link, StatementError
from signalstack.store.listener import AGAIN, CANCEL, LATER, READY, RESUMED, VACANT, Listener
from signalstack.store.outcomes import Ended
from signalstack.store.workers import WorkerLease
from signalstack.worker.claimer import Claimer
from signalstack.worker.executor import Executor
from signalstack.worker.heartbeat import Heartbeat
from signalstack.worker.host import Host
from signalstack.worker.reading import Reader
from signalstack.worker.settler import Settler
from signalstack.worker.verdict import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from anyio.abc import TaskStatus

    from signalstack.core.handler import Registry
    from signalstack.core.stage import Observer
    from signalstack.store.claims import Lease

# Leases that wait this long for a slot were claimed too early: other workers may have room.
_PATIENCE_S: Final = 0.2
_LAST_WORDS_S: Final = 5.0
# Clocks drift by some hundred microseconds a minute, and are set now and then.
_CLOCK_S: Final = 60.0
_log: Final = get_logger("signalstack.worker")


def _ignore() -> None:
    """Leave it to others."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker works; durations in seconds. No queues means all of them."""

    name: str
    queues: tuple[str, ...]
    concurrency: int
    job_timeout_s: float
    max_job_timeout_s: float = MAX_TIMEOUT_S
    lease_s: float
    poll_interval_s: float
    shutdown_timeout_s: float
    retry: RetryPolicy
    listen: bool


class Worker:
    """Claims, runs and settles jobs until told to stop; `on_recorded` hears of committed ends.

    `on_vacant` is called when the maintenance leader resigns, which this connection hears of.
    """

    def __init__(
        self,
        dsn: str,
        registry: Registry,
        observer: Observer,
        options: WorkerOptions,
        rng: Random,
        *,
        on_recorded: Callable[[list[Ended]], None] | None = None,
    ) -> None:
        self.on_vacant: Callable[[], None] = _ignore
        self._doubtful: dict[bytes, Lease] = {}
        self._doubt = anyio.Event()
        self._options = options
        self._types = tuple(registry)
        self._observer = observer
        # Nobody can listen to a bell whose name he does not know: jobs are told by it.
        self._bell = f"signalstack_bell_{token_hex(16)}"
        self._listener = Listener(
            dsn,
            observer,
            name="claim",
            channels=(READY, LATER, AGAIN, RESUMED, CANCEL, VACANT, self._bell),
            on_notify=self._heard,
            on_up=self._reconnected,
            statements=(*CLAIM_STATEMENTS, *invitations.STATEMENTS),
            settings=CLAIM_SESSION,
            listen=options.listen,
        )
        self._settlements = Link("settle", dsn, SETTLE_STATEMENTS, observer, settings=SESSION)
        self._dispatch = Dispatch(self._listener.link, self._settlements)
        self._heartbeat = Heartbeat(
            WorkerLease(
                dsn,
                name=options.name,
                queues=options.queues,
                concurrency=options.concurrency,
                lease_s=options.lease_s,
            ),
            lease_s=options.lease_s,
            on_lost=self._lease_lost,
            # Nobody answers a claim of a worker without a lease: what was rung meanwhile is missed.
            on_regained=self._look,
        )
        self._settler = Settler(
            self._dispatch,
            observer,
            worker_id=lambda: self._heartbeat.worker_id,
            on_retry=self._expect,
            on_room=self._room_changed,
            on_recorded=on_recorded,
        )
        self._executor = Executor(
            Reader(registry, self._dispatch.payload),
            observer,
            now=self._dispatch.now,
            on_ended=self._settler.add,
            on_room=self._room_changed,
            concurrency=options.concurrency,
            timeout_s=options.job_timeout_s,
            max_timeout_s=options.max_job_timeout_s,
            policy=options.retry,
            rng=rng,
        )
        self._claimer = Claimer(
            self._dispatch,
            observer,
            queues=options.queues,
            worker_id=lambda: self._heartbeat.worker_id,
            room=self._room,
            slots=options.concurrency,
            put=self._executor.put,
            on_claimed=self._refresh_host,
            on_polled=self._polled,
            hears=self._hears,
            poll_interval_s=options.poll_interval_s,
            rng=rng,
        )
        self._host = Host(
            Invitation(self._listener.link, self._bell, options.queues),
            observer,
            worker_id=lambda: self._heartbeat.worker_id,
            spare=self._spare,
            at_rest=lambda: self._claimer.at_rest,
            put=self._executor.take,
            lost=self._claimer.doubt,
            rng=rng,
        )

    @property
    def fault(self) -> str | None:
        """Why this worker hears no notifications, or None when it does."""
        return self._listener.fault

    async def run(
        self, shutdown: anyio.Event, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until `shutdown` is set, then finish or hand back; started once it can claim."""
        self._observer.tell(Serving(queues=self._options.queues, types=self._types))
        async with anyio.create_task_group() as services:
            await services.start(self._listener.run)
            await services.start(self._keep_settlements)
            await services.start(self._heartbeat.run)
            await self._read_clock()
            services.start_soon(self._settler.run)
            services.start_soon(self._executor.run)
            services.start_soon(self._return_early_leases)
            services.start_soon(self._claimer.look_forever)
            services.start_soon(self._look_for_cancelled)
            services.start_soon(self._keep_time)
            if self._options.listen:
                services.start_soon(self._host.run)
            async with anyio.create_task_group() as claiming:
                claiming.start_soon(self._claimer.claim_forever)
                self._claimer.look()
                task_status.started()
                await shutdown.wait()
                self._claimer.stop()
            all_told = await self._host.leave() and await self._claimer.give_back()
            await self._finish_or_hand_back(leave=all_told)
            services.cancel_scope.cancel()

    async def _keep_time(self) -> None:
        while True:
            await anyio.sleep(_CLOCK_S)
            await self._read_clock()

    async def _read_clock(self) -> None:
        with suppress(UnavailableError, StatementError):  # the clock of a minute ago will do
            await self._dispatch.read_clock()

    async def _keep_settlements(
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        told: str | None = None

        def changed(reason: str | None) -> None:
            nonlocal told
            if reason is None:
                self._settler.reconnected()
            elif reason != told:  # it is said at each try
                _log.warning("settlements_cut_off", reason=reason)
            told = reason

        await self._settlements.keep(on_change=changed, task_status=task_status)

    async def _finish_or_hand_back(self, *, leave: bool) -> None:
        self._hand_back(self._executor.take_back())
        _log.info("draining", running=self._executor.busy)
        with anyio.move_on_after(self._options.shutdown_timeout_s):
            await self._executor.until_idle()
        self._executor.end_all("shutdown")
        with anyio.move_on_after(_LAST_WORDS_S):
            await self._executor.until_idle()
            await self._settler.drain()
            if leave:  # else what we were handed unheard is rescued when the lease ends
                await self._heartbeat.leave()
            return
        _log.warning(
            "stopped_unsettled", running=self._executor.busy, unsettled=self._settler.backlog
        )

    async def _return_early_leases(self) -> None:
        while True:
            await self._executor.until_waiting()
            oldest = self._executor.oldest
            await anyio.sleep(_PATIENCE_S)
            if oldest is not None and self._executor.oldest is oldest:
                self._hand_back(self._executor.take_back())

    def _hand_back(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._settler.add(self._unstarted(lease, Outcome.RELEASED))

    def _unstarted(self, lease: Lease, outcome: Outcome) -> Ended:
        return Ended(
            lease=lease, outcome=outcome, started_at=None, finished_at=self._dispatch.now()
        )

    def _room(self) -> int:
        self._tell_slots()
        if self._settler.full:
            return 0
        return self._executor.room()

    def _tell_slots(self) -> None:
        # A slot whose job was claimed a moment ago has not begun it, and is not free any more.
        free = max(self._executor.free, 0)
        self._observer.tell(SlotsChanged(busy=self._options.concurrency - free, free=free))

    def _spare(self) -> int:
        """Tell for how many jobs that others might hand over there is room."""
        self._tell_slots()
        if self._settler.full or self._claimer.slow:
            return 0
        return self._executor.free

    def _heard(self, channel: str, payload: str) -> None:
        if channel == self._bell:
            self._host.heard(payload)
        elif channel == CANCEL:
            self._asked_to_cancel(payload)
        elif channel == VACANT:
            self.on_vacant()
        elif channel == RESUMED:
            self._resumed(payload)
        else:
            self._claimer.heard(channel, payload)

    def _resumed(self, payload: str) -> None:
        """Take a notification as a hint: it names a tenant, or nobody for all, and a queue."""
        user_id, _, queue = payload.partition(" ")
        with suppress(ValueError):
            tenant = UUID(user_id).bytes
            if self._claimer.serves(queue):
                self._executor.resumed(tenant, queue)

    def _asked_to_cancel(self, job_id: str) -> None:
        """Take a notification as a hint: anybody may send one, and the job's row has the truth."""
        with suppress(ValueError):
            if (lease := self._executor.find(UUID(job_id))) is not None:
                self._doubtful[lease.id] = lease
                self._doubt.set()

    async def _look_for_cancelled(self) -> None:
        """Ask of what we were told, and now and then of all that runs, whether it is cancelled."""
        look_at = anyio.current_time() + self._options.poll_interval_s
        while True:
            with anyio.move_on_after(look_at - anyio.current_time()):
                await self._doubt.wait()
            self._doubt = anyio.Event()
            told, self._doubtful = self._doubtful, {}
            asked = dict(told)
            if anyio.current_time() >= look_at:
                look_at = anyio.current_time() + self._options.poll_interval_s
                asked |= {lease.id: lease for lease in self._executor.running}
            if not asked:
                continue
            try:
                for job_id in await self._dispatch.cancelled(list(asked.values())):
                    self._cancel(UUID(bytes=job_id))
            except (UnavailableError, StatementError):
                self._doubtful = told | self._doubtful

    def _cancel(self, job_id: UUID) -> None:
        if (lease := self._executor.cancel(job_id)) is not None:
            self._settler.add(self._unstarted(lease, Outcome.CANCELLED))

    def _reconnected(self) -> None:
        self._host.reconnected()
        self._look()

    def _look(self) -> None:
        self._claimer.look()

    def _expect(self, delay_s: float) -> None:
        self._claimer.expect(delay_s)

    def _room_changed(self) -> None:
        self._claimer.room_changed()
        if self._claimer.at_rest:  # else it calls for a look as soon as it has claimed
            self._host.room_changed()

    def _polled(self, token: int | None) -> None:
        self._host.looked(token)

    def _hears(self) -> bool:
        return self._options.listen and self._listener.fault is None

    def _refresh_host(self) -> None:
        self._host.refresh()

    def _lease_lost(self) -> None:
        self._host.disinherited()
        # Others may run these jobs by now; whatever is still said of them is then fenced off.
        self._hand_back(self._executor.take_back())
        self._executor.end_all("lost")
