"""Measures what a job leaves behind: log and table bytes, on a PostgreSQL of its own.

    python tests/bench/volume.py

Bytes hardly differ between machines: a busy one will do.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from signalstack import settings as environment
from signalstack.bench.handlers import STAMP
from signalstack.bench.rig import QUEUE, open_rig
from signalstack.core.event import NewEvent
from signalstack.core.ids import new_id
from signalstack.core.job import JobRequest
from signalstack.core.subscription import JobTemplate, SubscriptionRequest
from signalstack.store import embedded
from signalstack.usecases import subscribe
from signalstack.wiring import Database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

from signalstack.bench.rig import Rig

JOBS: Final = 50_000
CALLERS: Final = 64
BATCH: Final = 100
DRAIN_S: Final = 300.0
_POSITION: Final = "SELECT pg_current_wal_insert_lsn() - '0/0' AS bytes"
_EMPTY: Final = """
    TRUNCATE signalstack.jobs, signalstack.finished_jobs, signalstack.events, signalstack.attempts
"""
_SIZES: Final = """
    SELECT
        coalesce(sum(pg_table_size(c.oid)), 0)::bigint AS rows,
        coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint AS indexes
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE n.nspname = 'signalstack' AND c.relkind = 'r' AND c.relname ~ %s
"""
_LEFT: Final = "SELECT EXISTS (SELECT FROM signalstack.jobs) AS some"


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a job, or an event where it says so."""

    made: str
    wal_create: int
    wal_run: int
    live: int
    finished: int
    finished_indexes: int
    event: int
    event_indexes: int
    attempt: int
    attempt_indexes: int


def main() -> None:
    """Measure, and print a line for each kind of work."""
    with tempfile.TemporaryDirectory(prefix="signalstack-volume-") as name:
        Path(name).chmod(0o711)  # for the account of root's PostgreSQL
        anyio.run(_main, Path(name))


async def _main(folder: Path) -> None:
    async with embedded.run(folder / "data") as server:
        database = Database(dsn=server.dsn, direct_dsn=server.dsn)
        given = environment.load({})
        async with open_rig(given, database, folder, quick=False, force=False, say=_say) as rig:
            for made, payload in (("no payload", None), ("200 B", "x" * 187), ("1 KB", "x" * 987)):
                job = _request(payload)
                _tell(await _measure(rig, f"{made}, batches of {BATCH}", partial(_batch, rig, job)))
            job = _request("x" * 187)
            _tell(await _measure(rig, "200 B, one a call", partial(rig.enqueue, job), calls=JOBS))
            _tell(await _measure(rig, "failed twice", partial(_batch, rig, _hopeless())))
            await _subscribe(rig)
            event = partial(_event, rig)
            _tell(await _measure(rig, "200 B, one an event", event, calls=JOBS))


async def _measure(
    rig: Rig, made: str, call: Callable[[], Awaitable[object]], *, calls: int = JOBS // BATCH
) -> Volume:
    """Create jobs by so many calls of concurrent callers, then have one worker run them."""
    await _ask(rig, _EMPTY)
    await _ask(rig, "CHECKPOINT")
    began = await _number(rig, _POSITION, "bytes")
    await _repeat(call, calls)
    created = await _number(rig, _POSITION, "bytes")
    live = await _sizes(rig, "^jobs$")
    async with rig.workers(1, RETRY_BASE_DELAY="10ms"):
        with anyio.fail_after(DRAIN_S):
            while await _number(rig, _LEFT, "some"):  # noqa: ASYNC110 - another process works
                await anyio.sleep(0.1)
    ended = await _number(rig, _POSITION, "bytes")
    finished, events = await _sizes(rig, "^finished_jobs_"), await _sizes(rig, "^events_")
    attempts = await _sizes(rig, "^attempts_")
    return Volume(
        made=made,
        wal_create=(created - began) // JOBS,
        wal_run=(ended - created) // JOBS,
        live=sum(live.values()) // JOBS,
        finished=finished["rows"] // JOBS,
        finished_indexes=finished["indexes"] // JOBS,
        event=events["rows"] // JOBS,
        event_indexes=events["indexes"] // JOBS,
        attempt=attempts["rows"] // JOBS,
        attempt_indexes=attempts["indexes"] // JOBS,
    )


async def _repeat(call: Callable[[], Awaitable[object]], calls: int) -> None:
    numbers = iter(range(calls))

    async def caller() -> None:
        for _ in numbers:
            await call()

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLERS):
            tasks.start_soon(caller)


def _request(text: str | None) -> JobRequest:
    return JobRequest(type="noop", queue=QUEUE, payload=None if text is None else {"data": text})


def _hopeless() -> JobRequest:
    """Ask for a job that fails, and fails again: there is no such file."""
    payload = {"file": "/nowhere", "slot": 0}
    return JobRequest(type=STAMP, queue=QUEUE, payload=payload, max_attempts=2)


async def _batch(rig: Rig, job: JobRequest) -> None:
    await rig.enqueue(*[job] * BATCH)


async def _subscribe(rig: Rig) -> None:
    job = JobTemplate(type="noop", queue=QUEUE, payload={"$": "payload"})
    request = SubscriptionRequest(name="volume", event_type="volume.*", job=job)
    await subscribe.create(rig.pool, rig.user_id, request, registry=rig.registry)


async def _event(rig: Rig) -> None:
    payload = msgspec.json.encode({"data": "x" * 187})
    event = NewEvent(id=new_id(), type="volume.made", payload=payload)
    await rig.acceptor.accept_event(
        rig.user_id, event, idempotency_key=None, fingerprint=None, traceparent=None
    )


async def _sizes(rig: Rig, tables: str) -> dict[str, int]:
    return (await _ask(rig, _SIZES, tables))[0]


async def _number(rig: Rig, query: str, column: str) -> int:
    return int((await _ask(rig, query))[0][column])


async def _ask(rig: Rig, query: str, *parameters: str) -> list[dict[str, Any]]:
    async with rig.pool.connection() as conn:
        cursor = await conn.execute(query.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []


def _tell(volume: Volume) -> None:
    _say("  ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(volume).items()))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
