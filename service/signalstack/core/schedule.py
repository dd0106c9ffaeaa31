"""A schedule: when a tenant wants which job, and what becomes of ticks that come too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import msgspec

from signalstack.core.budget import Budget
from signalstack.core.cadence import latest_tick, next_tick, parse_cadence, upcoming
from signalstack.core.errors import InvalidError
from signalstack.core.fit import fit
from signalstack.core.job import (
    DEFAULT_QUEUE,
    MAX_ATTEMPTS_LIMIT,
    MAX_TIMEOUT_S,
    PRIORITY_LIMIT,
)
from signalstack.core.line import Line
from signalstack.core.message import queue_fault
from signalstack.core.template import compile_template, render

if TYPE_CHECKING:
    from signalstack.core.cadence import Cadence
    from signalstack.core.document import Json
    from signalstack.core.handler import Registry
    from signalstack.core.template import Template

MAX_SCHEDULES: Final = 1_000
# Of a template that reads a name and a time; ticks of all tenants wait for each other.
_STEPS: Final = 20_000
_PATHS: Final = (("tick",), ("schedule",), ("schedule", "id"), ("schedule", "name"))
GRACE: Final = timedelta(seconds=60)


class Misfire(StrEnum):
    """What becomes of a tick that nobody took in time: nothing, or one job as soon as can be."""

    SKIP = "skip"
    ONCE = "once"


Expression = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        description="Five fields (minute, hour, day of month, month, day of week), an alias such "
        "as `@daily`, or an even pace such as `@every 30s`, from 1s to 744h.",
    ),
]
Zone = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=64, description="A name of the IANA list: `Europe/Berlin`."
    ),
]
Policy = Annotated[
    Misfire,
    msgspec.Meta(
        description="What becomes of ticks that nobody took in time: `skip` drops what is over a "
        "minute late, `once` makes one job for all of them."
    ),
]


class ScheduledJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What job to make at each tick."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    queue: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = DEFAULT_QUEUE
    payload: Annotated[
        Any,
        msgspec.Meta(
            description='A template: each `{"$": "<JMESPath>"}` in it reads `tick`, '
            "`schedule.id` or `schedule.name`; what has none is the payload as it stands."
        ),
    ] = None
    priority: Annotated[int, msgspec.Meta(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT)] = 0
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS_LIMIT)] | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_S)] | None = None


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller asks for: the body of `POST /v1/schedules`."""

    name: Line
    cron: Expression
    job: ScheduledJob
    timezone: Zone = "UTC"
    misfire: Policy = Misfire.SKIP


class ScheduleChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /v1/schedules/{id}`: what is not named stays; `job` changes whole."""

    name: Line | msgspec.UnsetType = msgspec.UNSET
    cron: Expression | msgspec.UnsetType = msgspec.UNSET
    job: ScheduledJob | msgspec.UnsetType = msgspec.UNSET
    timezone: Zone | msgspec.UnsetType = msgspec.UNSET
    misfire: Policy | msgspec.UnsetType = msgspec.UNSET


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as its owner sees it.

    `next_runs` are the next five ticks, none while it is paused; `last_tick` is the last one that
    came due, `last_job_id` the last job made by a tick, `last_error` why the last tick made none.
    """

    id: UUID
    name: str
    cron: str
    timezone: str
    misfire: Misfire
    job: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": ScheduledJob})]
    paused: bool
    next_runs: list[datetime]
    last_tick: datetime | None
    last_job_id: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class StoredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is kept; `now` is when it was read, by the database's clock.

    `@every` is counted from `anchor`; without a `next_tick` it has no time that is known.
    """

    id: UUID
    name: str
    cron: str
    timezone: str
    misfire: Misfire
    job: msgspec.Raw
    paused: bool
    anchor: datetime
    next_tick: datetime | None
    last_tick: datetime | None
    last_job_id: UUID | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    now: datetime

    @property
    def cadence(self) -> Cadence:
        """When it ticks; InvalidError when its zone is not known any more."""
        return parse_cadence(self.cron, self.timezone, anchor=self.anchor)

    @property
    def wanted_job(self) -> ScheduledJob:
        """What job it makes."""
        return msgspec.json.decode(self.job, type=ScheduledJob)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about a schedule that is due.

    `tick` stands for itself and the `passed` ones before it; it makes a job unless it is `dropped`.
    """

    tick: datetime
    passed: int
    dropped: bool
    next_tick: datetime | None


def take_turn(cadence: Cadence, *, due: datetime, now: datetime, misfire: Misfire) -> Turn:
    """Decide what becomes of the ticks from `due` on: of several, only the latest makes a job."""
    tick, passed = latest_tick(cadence, due, now)
    return Turn(
        tick=tick,
        passed=passed,
        dropped=misfire is Misfire.SKIP and now - tick > GRACE,
        next_tick=next_tick(cadence, tick),
    )


def make_payload(
    job: ScheduledJob,
    registry: Registry,
    *,
    schedule_id: UUID,
    name: str,
    tick: datetime,
    is_new: bool = False,
) -> Json:
    """Make the payload of the job of a tick.

    A job that `is_new` must not read a path that leads nowhere, nor wait where its type must not;
    an older build let that in, and its ticks go on.

    Raises:
        InvalidError: type or path does not exist, or the type takes no such payload; points into
            the body.
    """
    job_type = registry.get(job.type)
    if job_type is None:
        known = ", ".join(sorted(registry))
        raise InvalidError.at("/job/type", f"{job.type!r} does not exist; there are: {known}")
    if is_new and (fault := queue_fault(job.type, job.queue)):
        raise InvalidError.at("/job/queue", fault)
    payload = None
    if job.payload is not None:
        source: Json = {
            "tick": show_tick(tick),
            "schedule": {"id": str(schedule_id), "name": name},
        }
        template = compile_template(job.payload)
        if is_new:
            _check_paths(template)
        payload = render(template, source, Budget(_STEPS))
    fit(payload, job_type.payload, "/job/payload")
    return payload


def show_tick(tick: datetime) -> str:
    """Write a tick by RFC 3339, as short as it can be."""
    return tick.astimezone(UTC).isoformat().replace("+00:00", "Z")


def show(stored: StoredSchedule) -> Schedule:
    """Show a schedule to its owner."""
    fields = {
        name: getattr(stored, name) for name in Schedule.__struct_fields__ if name != "next_runs"
    }
    return Schedule(**fields, next_runs=_next_runs(stored))


def _check_paths(template: Template) -> None:
    for pointer, parsed in template.reads:
        if parsed.path is not None and parsed.path not in _PATHS:
            named, *known = (".".join(path) for path in (parsed.path, *_PATHS))
            raise InvalidError.at(
                pointer, f"{named!r} does not exist; there are: {', '.join(known)}"
            )


def _next_runs(stored: StoredSchedule) -> list[datetime]:
    if stored.next_tick is None:
        return []
    try:
        return upcoming(stored.cadence, stored.now)
    except InvalidError:  # its zone is not known any more: the next tick will say so
        return []
