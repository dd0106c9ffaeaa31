"""Pages of a tenant's jobs, newest first, each read by an index and only so far."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.ids import HIGHEST, id_span
from signalstack.core.job import LIVE, TERMINAL, Job, Status
from signalstack.store.query import Query, fetch_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.job import JobFilter
    from signalstack.store.query import Connection

# Rows within it are read and may not fit: a wide one would have busy tenants' pages come empty. It
# covers a request's deadline, and clocks that are set.
_SKEW: Final = timedelta(minutes=1)
_UNSUCCESSFUL: Final = TERMINAL - {Status.SUCCEEDED}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in order, and the id that the next page is below (None: there is none)."""

    jobs: list[Job]
    below: UUID | None


class _Seen(Job, frozen=True, kw_only=True):
    """A job that was read: one that fits, or the last one that a page may read (the edge)."""

    fits: bool
    edge: bool


_LIST: Final = Query("jobs/list", _Seen)
_BY_TYPE: Final = Query("jobs/list_by_type", _Seen)
_BY_STATUS: Final = Query("jobs/list_unsuccessful", _Seen)


async def list_page(
    conn: Connection, *, user_id: UUID, wanted: JobFilter, below: UUID | None, limit: int
) -> Page:
    """Read up to `limit` jobs with ids under `below` that fit.

    A page may have fewer, even none, and still be followed by another: it reads no further than
    5,000 rows for filters that no index serves.
    """
    status = wanted.status
    finished_only = status in TERMINAL
    floor, ceiling = id_span(wanted.created_after, wanted.created_before, skew=_SKEW)
    common = {
        "user_id": user_id,
        "floor": floor,
        "below": min(ceiling, below or HIGHEST),
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
        "status": None if status is None else status.value,
        "type": wanted.type,
        "queue": wanted.queue,
        "limit": limit + 1,
    }
    if status in _UNSUCCESSFUL:
        found = await fetch_all(conn, _BY_STATUS, **common)
    elif wanted.type is not None and status not in LIVE:
        found = await fetch_all(conn, _BY_TYPE, **common, live=not finished_only)
    else:
        found = await fetch_all(
            conn, _LIST, **common, live=not finished_only, finished=status not in LIVE
        )
    return _cut(found, limit)


def _cut(found: Sequence[_Seen], limit: int) -> Page:
    """Take the jobs of the page: up to its limit, or up to the first edge if that comes sooner."""
    jobs: list[Job] = []
    for seen in found:
        if len(jobs) == limit:
            return Page(jobs=jobs, below=jobs[-1].id)
        if seen.fits:
            jobs.append(Job(**{name: getattr(seen, name) for name in Job.__struct_fields__}))
        if seen.edge:
            return Page(jobs=jobs, below=seen.id)
    return Page(jobs=jobs, below=None)
