"""What a claim leases, as its rows tell it."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import msgspec

from signalstack.core.ids import read_uuid
from signalstack.core.job import Wake
from signalstack.store import binary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq.abc import PGresult

    Rows = list[tuple[Any, ...]]
    Said = tuple[int, int, bytes | None, int, bool, float | None]

NIL: Final = bytes(16)

# Columns of the claims. What is said of a claim as a whole comes first, in all rows alike: how many
# lanes were walked, the share of each, where to go on, how many jobs were chosen, whether lanes
# were left alone, and how long to wait.
_COMMON, _ID = 6, 7
_id: Final = itemgetter(_ID)
_priority: Final = itemgetter(4)  # of what follows
_WAKES: Final = {wake.value: wake for wake in Wake}


class Lease(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A claimed job: `(id, attempt, token)` guards all that is written of this run.

    `user_id` and `id` are 16-byte strings, `due_at` and `postponed_at` are Unix time by the
    database's clock, `payload` is JSON, or None where it is to be read by itself. `spot` is where
    its row was when it was claimed (`tid`), None where that is not known or does not hold any more.
    """

    user_id: bytes
    id: bytes
    job_id: UUID
    type: str
    queue: str
    attempt: int
    max_attempts: int
    timeout_s: float | None
    due_at: float
    wake: Wake
    traceparent: str | None
    payload: bytes | None
    token: int
    postponed_at: float | None = None
    spot: bytes | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim brought; `drained` when no lane has more, `cursor` where to go on.

    `lanes` is how many were visited, save by one that followed another and found none.
    `wait_s` is the time until a queue's rate limit allows more, None where none stands in the way.
    `plain` says that the walk came to its end and met no limits; else a plain claim left lanes
    alone. `dead` is how many index entries of jobs that are gone were stepped over, where counted.
    `reached` is the id before which no lane has more, save of lower priority than was leased there;
    None where that is not known.
    """

    leases: list[Lease]
    drained: bool
    lanes: int
    cursor: bytes
    wait_s: float | None
    plain: bool
    dead: int | None = None
    reached: bytes | None = None


def read_claim(result: PGresult) -> tuple[Rows, Said]:
    """Read the rows of a claim, and what they say of it as a whole."""
    rows = binary.read_rows(result)
    said = cast("Said", rows[0][:_COMMON])
    return (rows if rows[0][_ID] is not None else []), said


def read_next(result: PGresult) -> tuple[Rows, Said]:
    """Read a claim that follows another: its rows come in no order, and none when it found none."""
    rows = binary.read_rows(result)
    if not rows:
        return rows, (0, 1, None, 0, False, None)
    rows.sort(key=_id)
    rows.sort(key=_priority, reverse=True)  # which leaves equal ones in order
    walked, share, chosen, held = rows[0][:4]
    return rows, (walked, share, None, chosen, held, None)


def make_claim(
    rows: Rows, said: Said, *, token: int, inline: int, lanes: int, dead: int | None
) -> Claim:
    """Make a claim of what was read; payloads beyond `inline` bytes are left to be read later."""
    walked, share, last, chosen, held, wait_s = said
    leases = _read_leases(rows, token, inline)
    full = len(leases) >= share and (walked == 1 or _some_lane_is_full(leases, share))
    cut = walked >= lanes
    return Claim(
        leases=leases,
        drained=not cut and chosen == len(leases) and not full,
        lanes=walked,
        cursor=last if cut and last is not None else NIL,
        wait_s=None if wait_s is None else max(wait_s, 0.0),
        plain=not cut and not held,
        dead=dead,
        reached=_reached(leases, walked) if leases and not cut else None,
    )


def _read_leases(rows: Rows, token: int, inline: int) -> list[Lease]:
    unix = binary.unix
    return [
        Lease(
            user_id=user_id,
            id=id_,
            job_id=read_uuid(id_),
            type=type_,
            queue=queue,
            attempt=attempt,
            max_attempts=max_attempts,
            timeout_s=timeout_s,
            due_at=unix(due),
            wake=_WAKES.get(wake, Wake.BACKLOG),
            traceparent=traceparent,
            # Cut off behind that: it is to be read by itself.
            payload=None if payload is not None and len(payload) > inline else payload,
            token=token,
            postponed_at=None if postponed is None else unix(postponed),
            spot=spot,
        )
        for (
            _walked,
            _share,
            _last,
            _chosen,
            _held,
            _wait_s,
            user_id,
            id_,
            type_,
            queue,
            attempt,
            max_attempts,
            timeout_s,
            due,
            wake,
            traceparent,
            payload,
            postponed,
            spot,
        ) in rows
    ]


def _reached(leases: Sequence[Lease], lanes: int) -> bytes | None:
    """Tell the lowest of the last ids of each lane; None where a lane got nothing."""
    if lanes == 1:  # they are in order
        return leases[-1].id
    ends = {(lease.queue, lease.user_id): lease.id for lease in leases}
    return min(ends.values()) if len(ends) == lanes else None


def _some_lane_is_full(leases: Sequence[Lease], share: int) -> bool:
    counts = Counter((lease.user_id, lease.queue) for lease in leases)
    return max(counts.values(), default=0) >= share
