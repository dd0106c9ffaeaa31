"""What a request wants stored, and the statements that store it: one job by itself, or many.

One has statements of its own, with a value where those for many have an array: setting that up
takes longer than storing the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.event import NewEvent
from signalstack.core.job import NewJob
from signalstack.store import binary
from signalstack.store.link import Call, Statement

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_ENQUEUE: Final = Statement("intake/enqueue")
_ENQUEUE_ONE: Final = Statement("intake/enqueue_one")
_ENQUEUE_ONE_POOLED: Final = Statement("intake/enqueue_one_pooled")
_ACCEPT: Final = Statement("intake/accept")
_ACCEPT_ONE: Final = Statement("intake/accept_one")
_OF_ONE: Final = (_ENQUEUE_ONE, _ACCEPT_ONE, _ENQUEUE_ONE_POOLED)
# Behind a pooler nothing is prepared: neither is the one that is for there.
STATEMENTS: Final = (_ENQUEUE, _ENQUEUE_ONE, _ACCEPT, _ACCEPT_ONE)
# Columns of what comes back: who owns a key, and which events were stored.
_OWNER, _STORED = range(1, 6), 6


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key as given; `fingerprint` is a SHA-256 of what it stands for."""

    route: str
    key: str
    fingerprint: bytes


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """What one request wants stored: jobs, or an event with the jobs that it caused.

    `version` is the tenant's version of the subscriptions that an event was matched against. The
    caller of one that is not `durable` hears of its commit before it is on disk, and answers
    nobody until a later commit that is, such as that of the job's outcome, or `Intake.flush_wal`.
    """

    user_id: UUID
    jobs: Sequence[NewJob]
    event: NewEvent | None = None
    version: int = 0
    key: Key | None = None
    durable: bool = True

    @property
    def ref(self) -> UUID:
        """What an idempotency key points at: the event, or the first job."""
        return self.event.id if self.event is not None else self.jobs[0].id


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds an idempotency key: what it was first used for, and what that made."""

    fingerprint: bytes
    ref: UUID


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a write: `stored`, else a repeat (of `owner`) or matched out of date."""

    created_at: datetime
    stored: bool
    owner: Owner | None


def may_be_handed(write: Write) -> bool:
    """Tell whether this is one job that a worker may have at once.

    What is handed over costs an attempt if that worker is no more, so there must be another.
    """
    if len(write.jobs) != 1:
        return False
    (job,) = write.jobs
    return job.run_at is None and not job.delay_s and job.max_attempts > 1


def make_call(writes: Sequence[Write], *, handed: bool, hurry: bool, pooled: bool) -> Call:
    """Make the call for writes of one kind, jobs or events; one job may be `handed` over.

    A statement for one can be told to `hurry` and not wait for the disk; see `hurries`.
    """
    first = writes[0]
    flag = binary.pack_bool(handed)
    if len(writes) == len(first.jobs) == 1:
        plain = first.key is None and first.event is None
        if plain or not pooled:  # planned anew each time, the longer one would take longer
            one = [*_job_parameters(first.user_id, first.jobs[0]), flag, binary.pack_bool(hurry)]
            if plain:
                return Call(_ENQUEUE_ONE_POOLED if pooled else _ENQUEUE_ONE, one)
            return Call(_ACCEPT_ONE, [*one, *_guard_parameters(first)])
    if first.event is not None:
        return Call(_ACCEPT, [*_accept_parameters(writes), flag])
    return Call(_ENQUEUE, [*_enqueue_parameters(writes), flag])


def hurries(call: Call) -> bool:
    """Tell whether a call can say itself that its commit need not wait for the disk."""
    return call.statement in _OF_ONE


def read_receipts(writes: Sequence[Write], result: PGresult) -> list[Receipt]:
    """Read what became of each write of one call."""
    created_at = binary.read_timestamptz(result.get_value(0, 0) or b"")
    is_event = writes[0].event is not None
    stored = set(binary.read_uuid_array(result.get_value(0, _STORED))) if is_event else None
    owners = _read_owners(result)
    receipts: list[Receipt] = []
    for write in writes:
        key = write.key
        owner = owners.get((write.user_id.bytes, key.route, key.key)) if key else None
        if stored is None:
            kept = owner is None or owner.ref == write.ref
        else:
            kept = write.ref.bytes in stored
        receipts.append(Receipt(created_at=created_at, stored=kept, owner=None if kept else owner))
    return receipts


def _read_owners(result: PGresult) -> dict[tuple[bytes, str, str], Owner]:
    owners: dict[tuple[bytes, str, str], Owner] = {}
    if result.nfields < _OWNER.stop:  # a statement without keys
        return owners
    for row in range(result.ntuples):
        user_id, route, key, fingerprint, ref = (result.get_value(row, column) for column in _OWNER)
        if user_id is not None and route is not None and key is not None:
            owners[user_id, route.decode(), key.decode()] = Owner(
                fingerprint=fingerprint or b"", ref=UUID(bytes=ref)
            )
    return owners


def _job_parameters(user_id: UUID, job: NewJob) -> list[bytes | None]:
    return [
        user_id.bytes,
        job.id.bytes,
        job.type.encode(),
        job.queue.encode(),
        binary.pack_int2(job.priority),
        None if job.run_at is None else binary.pack_timestamptz(job.run_at),
        None if job.delay_s is None else binary.pack_float8(job.delay_s),
        binary.pack_int4(job.max_attempts),
        None if job.timeout_s is None else binary.pack_float8(job.timeout_s),
        None if job.traceparent is None else job.traceparent.encode(),
        binary.pack_jsonb(job.payload),
        binary.pack_int2(job.watch),
    ]


def _guard_parameters(write: Write) -> list[bytes | None]:
    """Give the key, if there is one, and the event, if there is one."""
    key, event = write.key, write.event
    held = [None] * 3 if key is None else [key.route.encode(), key.key.encode(), key.fingerprint]
    if event is None:
        return [*held, *[None] * 9]
    occurred_at, extensions = event.occurred_at, event.extensions
    return [
        *held,
        event.id.bytes,
        event.type.encode(),
        binary.pack_jsonb(event.payload),
        _encode(event.source),
        _encode(event.subject),
        _encode(event.external_id),
        None if occurred_at is None else binary.pack_timestamptz(occurred_at),
        None if extensions is None else binary.pack_jsonb(extensions),
        binary.pack_int8(write.version),
    ]


def _encode(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _key_parameters(writes: Sequence[Write]) -> list[bytes]:
    keyed = [(write, write.key) for write in writes if write.key is not None]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in keyed]),
        binary.text_array([key.route for _, key in keyed]),
        binary.text_array([key.key for _, key in keyed]),
        binary.bytea_array([key.fingerprint for _, key in keyed]),
        binary.uuid_array([write.ref.bytes for write, _ in keyed]),
    ]


def _enqueue_parameters(writes: Sequence[Write]) -> list[bytes]:
    rows = [(write, job) for write in writes for job in write.jobs]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in rows]),
        binary.uuid_array([job.id.bytes for _, job in rows]),
        binary.text_array([job.type for _, job in rows]),
        binary.text_array([job.queue for _, job in rows]),
        binary.int2_array([job.priority for _, job in rows]),
        binary.timestamptz_array([job.run_at for _, job in rows]),
        binary.float8_array([job.delay_s for _, job in rows]),
        binary.int4_array([job.max_attempts for _, job in rows]),
        binary.float8_array([job.timeout_s for _, job in rows]),
        binary.text_array([write.key.key if write.key else None for write, _ in rows]),
        binary.text_array([job.traceparent for _, job in rows]),
        binary.jsonb_array([job.payload for _, job in rows]),
        binary.uuid_array([write.ref.bytes if write.key else None for write, _ in rows]),
        binary.int2_array([job.watch for _, job in rows]),
        *_key_parameters(writes),
    ]


def _accept_parameters(writes: Sequence[Write]) -> list[bytes]:
    events = [(write, write.event) for write in writes if write.event is not None]
    jobs = [(write, event, job) for write, event in events for job in write.jobs]
    return [
        binary.uuid_array([write.user_id.bytes for write, _ in events]),
        binary.uuid_array([event.id.bytes for _, event in events]),
        binary.text_array([event.type for _, event in events]),
        binary.jsonb_array([event.payload for _, event in events]),
        binary.text_array([event.source for _, event in events]),
        binary.text_array([event.subject for _, event in events]),
        binary.text_array([event.external_id for _, event in events]),
        binary.timestamptz_array([event.occurred_at for _, event in events]),
        binary.jsonb_array([event.extensions for _, event in events]),
        binary.int8_array([write.version for write, _ in events]),
        binary.uuid_array([event.id.bytes if write.key else None for write, event in events]),
        *_key_parameters(writes),
        binary.int8_array([write.version for write in writes if write.key is not None]),
        binary.uuid_array([job.id.bytes for _, _, job in jobs]),
        binary.uuid_array([event.id.bytes for _, event, _ in jobs]),
        binary.text_array([job.type for _, _, job in jobs]),
        binary.text_array([job.queue for _, _, job in jobs]),
        binary.int2_array([job.priority for _, _, job in jobs]),
        binary.float8_array([job.delay_s or 0.0 for _, _, job in jobs]),
        binary.int4_array([job.max_attempts for _, _, job in jobs]),
        binary.text_array([job.traceparent for _, _, job in jobs]),
        binary.jsonb_array([job.payload for _, _, job in jobs]),
    ]
