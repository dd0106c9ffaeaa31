"""How runs ended, and what the statements that record it are given and answer."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from signalstack.core.job import Outcome, Wake
from signalstack.store import binary
from signalstack.store.claims import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from psycopg.pq.abc import PGresult

Value = TypeVar("Value")

lock_order: Final = attrgetter("lease.user_id", "lease.id")
TERMINAL: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})
_NEXT_WAKE: Final = {
    Outcome.RETRIED: Wake.RETRY.value,
    Outcome.POSTPONED: Wake.TIMER.value,
}


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of runs that were still ours, and of those whose job was cancelled meanwhile.

    `moved` are runs whose row is not where it was, if it is there: they are to be settled again.
    """

    settled: set[bytes]
    cancelled: set[bytes]
    moved: list[Ended]


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run that is over and waits to be recorded.

    `delay_s` is the wait before the next run where there is one. `started_at` is None for a run
    that never began or was put off: its attempt is given back.
    """

    lease: Lease
    outcome: Outcome
    started_at: float | None
    finished_at: float
    error: str | None = None
    result: bytes | None = None
    delay_s: float = 0.0


def read_settled(result: PGresult, over: Sequence[Ended]) -> set[bytes]:
    """Read the ids of those that were still ours; where all were, nothing lists them."""
    if len(over) == 1:
        return {over[0].lease.id} if result.ntuples else set()
    ids = result.get_value(0, 0)
    return {end.lease.id for end in over} if ids is None else set(binary.read_uuid_array(ids))


def lose_spot(end: Ended) -> Ended:
    """Have a run looked for by its id: its row is not where it was claimed."""
    replace = msgspec.structs.replace
    return replace(end, lease=replace(end.lease, spot=None))


def finish_one_parameters(end: Ended) -> tuple[bytes | None, ...]:
    """Give what `dispatch/finish_one` takes."""
    return (
        end.lease.user_id,
        end.lease.id,
        binary.pack_int8(end.lease.token),
        end.outcome.encode(),
        None if end.started_at is None else binary.pack_unix(end.started_at),
        binary.pack_unix(end.finished_at),
        None if end.error is None else end.error.encode(),
        None if end.result is None else binary.pack_jsonb(end.result),
    )


def finish_parameters(over: Sequence[Ended]) -> tuple[bytes, ...]:
    """Give what `dispatch/finish` takes, and `dispatch/finish_at` before the places of rows."""
    return (
        binary.uuid_array([end.lease.user_id for end in over]),
        binary.uuid_array([end.lease.id for end in over]),
        binary.int8_array([end.lease.token for end in over]),
        binary.text_array([end.outcome for end in over]),
        binary.timestamptz_array_from_unix([end.started_at for end in over]),
        binary.timestamptz_array_from_unix([end.finished_at for end in over]),
        binary.text_array(_unless_all_none([end.error for end in over])),
        binary.jsonb_array(_unless_all_none([end.result for end in over])),
    )


def _unless_all_none(values: list[Value | None]) -> list[Value | None]:
    """Leave a column empty that says nothing: PostgreSQL fills shorter arrays up with NULLs."""
    return [] if values.count(None) == len(values) else values


def requeue_parameters(back: Sequence[Ended], worker_id: UUID) -> tuple[bytes, ...]:
    """Give what `dispatch/requeue` takes."""
    return (
        binary.uuid_array([end.lease.user_id for end in back]),
        binary.uuid_array([end.lease.id for end in back]),
        binary.int8_array([end.lease.token for end in back]),
        binary.text_array([end.outcome for end in back]),
        binary.timestamptz_array_from_unix([end.started_at for end in back]),
        binary.timestamptz_array_from_unix([end.finished_at for end in back]),
        binary.text_array([end.error for end in back]),
        binary.float8_array([end.delay_s for end in back]),
        binary.text_array([_NEXT_WAKE.get(end.outcome) for end in back]),
        binary.int4_array([end.lease.attempt for end in back]),
        binary.uuid_array([worker_id.bytes for _ in back]),
        binary.text_array([end.lease.wake.value for end in back]),
    )
