"""Records how runs ended: one batch in flight, the next one gathers meanwhile.

Once that one is full it is sent as well, so that PostgreSQL need not wait for us in between.
"""

from __future__ import annotations

from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.job import Outcome
from signalstack.core.log import get_logger
from signalstack.core.stage import Settled
from signalstack.store.link import StatementError
from signalstack.store.outcomes import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from signalstack.core.stage import Observer
    from signalstack.store.dispatch import Dispatch
    from signalstack.store.outcomes import Ended

BATCH: Final = 500
# With more than this unsettled, the worker claims no more until PostgreSQL has caught up.
BACKLOG_LIMIT: Final = 2_000
BACKLOG_BYTES: Final = 64 * 1024**2
_BATCH_BYTES: Final = 16 * 1024**2
_RETRY_S: Final = 0.5
# Data, constraints, limits: the row's fault. All else (contention, shutdown, a full disk, a standby
# that is not promoted yet) may pass, and an outcome must outlast it.
_ROW_FAULTS: Final = ("22", "23", "54")
# Somebody holds a row, or the table, for longer than a statement waits.
_HELD: Final = "55P03"
# Those that run again after `delay_s`.
_LATER: Final = frozenset({Outcome.RETRIED, Outcome.POSTPONED})
_kind: Final = attrgetter("lease.queue", "lease.type", "outcome")
_log: Final = get_logger("signalstack.worker")


class Settler:
    """Takes ended runs and gets them recorded, however often PostgreSQL goes away meanwhile."""

    def __init__(
        self,
        dispatch: Dispatch,
        observer: Observer,
        *,
        worker_id: Callable[[], UUID],
        on_retry: Callable[[float], None],
        on_room: Callable[[], None],
        on_recorded: Callable[[list[Ended]], None] | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._observer = observer
        self._worker_id = worker_id
        self._on_retry = on_retry
        self._on_room = on_room
        self._on_recorded = on_recorded
        self._ended: list[Ended] = []
        self._bytes = 0
        self._in_flight = 0
        self._was_full = False
        self._unheard: set[bytes] = set()
        self._signal = anyio.Event()
        self._back = anyio.Event()
        self._batch_full = anyio.Event()
        self._empty = anyio.Event()

    @property
    def backlog(self) -> int:
        """How many ended runs are not recorded yet."""
        return len(self._ended) + self._in_flight

    @property
    def full(self) -> bool:
        """Whether so much waits to be recorded that no more work should be taken on."""
        return self.backlog > BACKLOG_LIMIT or self._bytes > BACKLOG_BYTES

    def add(self, ended: Ended) -> None:
        """Take an ended run."""
        if not self._ended:
            self._signal.set()
        self._ended.append(ended)
        self._bytes += _size(ended)
        if len(self._ended) >= BATCH:
            self._batch_full.set()

    def reconnected(self) -> None:
        """Say that PostgreSQL is back."""
        self._back.set()
        self._back = anyio.Event()

    async def run(self) -> None:
        """Settle until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settle_full_batches)
            while True:
                if not self._ended:
                    await self._until_news()
                await self._settle_next()

    async def _settle_full_batches(self) -> None:
        """Send a second batch behind the one in flight whenever there is a full one."""
        while True:
            if len(self._ended) < BATCH:
                self._batch_full = anyio.Event()
                await self._batch_full.wait()
            await self._settle_next()

    async def _settle_next(self) -> None:
        batch = self._gather()
        if not batch:
            return
        self._in_flight += len(batch)
        # The outcome of work that was done is worth waiting for, whoever wants to stop.
        left = batch
        with anyio.CancelScope(shield=True):
            left = [end for part in _apart(batch) for end in await self._settle(part)]
        # It may have become so while these were on their way, and not be so any more without them.
        self._was_full = self._was_full or self.full
        self._in_flight -= len(batch)
        self._bytes -= sum(map(_size, batch))
        if left:
            self._ended[:0] = left
            self._bytes += sum(map(_size, left))
            # Not until the other task says something: each would wake the other at once.
            with anyio.move_on_after(_RETRY_S):
                await self._back.wait()
            self._signal.set()  # for the other one, if it has nothing to do
            return
        if not self.backlog:
            self._empty.set()
        if len(batch) == BATCH or self._was_full:
            self._was_full = False
            self._on_room()

    async def _until_news(self) -> None:
        if self._signal.is_set():
            self._signal = anyio.Event()
        await self._signal.wait()

    def _gather(self) -> list[Ended]:
        """Take what goes into one batch."""
        if self._bytes <= _BATCH_BYTES:
            batch, self._ended = self._ended[:BATCH], self._ended[BATCH:]
            return batch
        count = size = 0
        for ended in self._ended[:BATCH]:
            size += _size(ended)
            if count and size > _BATCH_BYTES:
                break
            count += 1
        batch, self._ended = self._ended[:count], self._ended[count:]
        return batch

    async def drain(self) -> None:
        """Wait until everything is recorded."""
        while self.backlog:
            self._empty = anyio.Event()
            await self._empty.wait()

    async def _settle(self, batch: list[Ended]) -> list[Ended]:
        """Record a batch; returns what must be tried again."""
        began = perf_counter()
        try:
            done = await self._dispatch.settle(batch, worker_id=self._worker_id())
        except UnavailableError:
            self._unheard.update(end.lease.id for end in batch)
            return batch
        except StatementError as error:
            return await self._settle_refused(batch, error)
        if done.moved:
            moved = {end.lease.id for end in done.moved}
            batch = [end for end in batch if end.lease.id not in moved]
        recorded = self._take_unheard(batch) - done.settled - done.cancelled
        settled = committed = batch  # all of them, as a rule
        if len(done.settled) < len(batch):
            settled = [end for end in batch if end.lease.id in done.settled]
            committed = settled + [end for end in batch if end.lease.id in recorded]
        self._observer.tell(
            Settled(
                jobs=tuple([end.lease.job_id for end in settled]),
                stale=len(batch) - len(done.settled) - len(done.cancelled) - len(recorded),
                duration_s=perf_counter() - began,
                ended=_count(committed),
            )
        )
        if self._on_recorded is not None:
            self._on_recorded(committed)
        for end in batch:
            if end.outcome in _LATER:
                self._on_retry(end.delay_s)
        left: list[Ended] = []
        if done.cancelled:
            left += await self._settle(
                [
                    msgspec.structs.replace(end, outcome=Outcome.CANCELLED)
                    for end in batch
                    if end.lease.id in done.cancelled
                ]
            )
        if done.moved:
            left += await self._settle(done.moved)
        return left

    def _take_unheard(self, batch: list[Ended]) -> set[bytes]:
        """Tell which of these were sent before; those not found now were recorded then."""
        if not self._unheard:
            return set()
        sent = self._unheard.intersection([end.lease.id for end in batch])
        self._unheard -= sent
        return sent

    async def _settle_refused(self, batch: list[Ended], error: StatementError) -> list[Ended]:
        if error.queue_is_full or not error.sqlstate.startswith(_ROW_FAULTS):
            _log.warning("settlement_put_off", error=str(error), sqlstate=error.sqlstate)
            held = error.sqlstate == _HELD and len(batch) > 1
            return await self._settle_around(batch) if held else batch
        if len(batch) > 1:  # one bad row must hurt only itself
            return [left for end in batch for left in await self._settle([end])]
        (end,) = batch
        _log.error("outcome_refused", job_id=end.lease.job_id, error=str(error))
        if end.result is None:
            self._unheard.discard(end.lease.id)
            return []  # nothing left to leave out: its lease is taken back when this worker ends
        reason = f"PostgreSQL cannot store the result: {error}"
        failed = msgspec.structs.replace(end, outcome=Outcome.FAILED, result=None, error=reason)
        return await self._settle([failed])

    async def _settle_around(self, batch: list[Ended]) -> list[Ended]:
        """Record what nobody holds of a batch, one by one; returns the rest, what is held last.

        Where a second one is held, too, many may be, and each costs the time that is waited for it:
        those behind come first the next time.
        """
        held: list[Ended] = []
        for nth, end in enumerate(batch, start=1):
            held += await self._settle([end])
            if len(held) > 1:
                return [*batch[nth:], *held]
        return held


def _apart(batch: list[Ended]) -> list[list[Ended]]:
    """Part what is over from what goes back: each statement locks the rows of limited queues.

    It does so in their order, and two of them in one transaction in none: a deadlock.
    """
    over = [end for end in batch if end.outcome in TERMINAL]
    if not over or len(over) == len(batch):
        return [batch]
    return [over, [end for end in batch if end.outcome not in TERMINAL]]


def _count(committed: list[Ended]) -> dict[tuple[str, str, Outcome], int]:
    counts: dict[tuple[str, str, Outcome], int] = {}
    for key in map(_kind, committed):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _size(ended: Ended) -> int:
    return len(ended.lease.payload or b"") + len(ended.result or b"")
