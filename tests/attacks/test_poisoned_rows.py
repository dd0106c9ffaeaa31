"""Rows that no API let in, written by somebody who shares the database, among good ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import pytest

from front import client_of, make_key, open_front
from recording import RecordingObserver
from rows import add_worker, connect, open_dispatch
from signalstack.core.ids import new_id
from signalstack.core.job import Wake
from signalstack.core.key import Scope
from signalstack.store.claims import NIL
from signalstack.store.dispatch import CLAIM_BYTES
from working import Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_INSERT: Final = """
    INSERT INTO signalstack.jobs
        (user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload, attempt, wake,
         timeout_s, traceparent)
    SELECT %s, %s, %s, 'default', 0, false, 3, {run_at}, {payload}, {attempt}, {wake}, {timeout_s},
        {traceparent}
"""
_USUAL: Final = {
    "run_at": "now()",
    "payload": "'null'",
    "attempt": "0",
    "wake": "NULL",
    "timeout_s": "NULL",
    "traceparent": "NULL",
}
# 8,192 numbers of 131,072 digits, 100 KB as they are stored: no text of PostgreSQL's is so long.
_BEYOND_TEXT: Final = """(
    WITH RECURSIVE doubled (n, value) AS (
        SELECT 0, '[1e131071]'::jsonb
        UNION ALL
        SELECT n + 1, value || value FROM doubled WHERE n < 13
    )
    SELECT value FROM doubled ORDER BY n DESC LIMIT 1
)"""
_SIXTY_MB: Final = "to_jsonb(repeat('x', 60000000))"
_SEVENTY_MB: Final = "to_jsonb(repeat('x', 70000000))"
_DEEP: Final = "(repeat('[', 5000) || repeat(']', 5000))::jsonb"


class Greeting(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    to: str


class Shown(msgspec.Struct):
    id: UUID


class Listed(msgspec.Struct):
    data: list[Shown]


async def greet(payload: Greeting, _context: object) -> str:
    return payload.to


async def count(payload: Any, _context: object) -> int:
    return len(str(payload))


HANDLERS: Final = {"greet": greet, "count": count}


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


async def poison(shop: Shop, type_: str = "greet", **columns: str) -> UUID:
    """Write a row by hand; columns are given as SQL."""
    id_ = new_id()
    await shop.rows(_INSERT.format(**_USUAL | columns), shop.user_id, id_, type_)
    return id_


async def ended(shop: Shop, crew: Crew, jobs: Mapping[str, UUID]) -> dict[str, tuple[str, str]]:
    """Wait until all have ended, and tell status and error of each."""
    told: dict[str, tuple[str, str]] = {}
    for name, job in jobs.items():
        await crew.ended(job)
        ran = await shop.ran(job)
        told[name] = (ran.status, ran.last_error or "")
    return told


async def test_a_deeply_nested_payload_of_any_type_harms_nobody(shop: Shop) -> None:
    deep = await poison(shop, "count", payload=_DEEP)
    good = await poison(shop, payload='\'{"to": "a"}\'')

    async with shop.worker(HANDLERS) as crew:
        (status, error), well = (await ended(shop, crew, {"deep": deep, "good": good})).values()

    assert well == ("succeeded", "")
    if sys.version_info >= (3, 12):  # whose limit of nested calls is not that of Python's frames
        assert (status, error) == ("succeeded", "")
    else:
        assert status == "failed"
        assert error.startswith("the payload ")


@pytest.mark.slow
async def test_payloads_that_cannot_be_read_fail_their_own_jobs_alone(shop: Shop) -> None:
    good = {f"before {n}": await poison(shop, payload='\'{"to": "a"}\'') for n in range(3)}
    bad = {
        "a number of 131,072 digits": await poison(shop, payload="'1e131071'"),
        "a member with such a number": await poison(shop, payload="'{\"to\": 1e131071}'"),
        "beyond any text": await poison(shop, payload=_BEYOND_TEXT),
        "60 MB": await poison(shop, payload=_SIXTY_MB),
        "70 MB": await poison(shop, payload=_SEVENTY_MB),
        "deeply nested": await poison(shop, payload=_DEEP),
        "of another shape": await poison(shop, payload="'[1, 2]'"),
        "of another shape inside": await poison(shop, payload="'{\"to\": 5}'"),
    }
    good |= {f"after {n}": await poison(shop, payload='\'{"to": "b"}\'') for n in range(3)}

    async with shop.worker(HANDLERS) as crew:
        well = await ended(shop, crew, good)
        badly = await ended(shop, crew, bad)

    assert set(well.values()) == {("succeeded", "")}
    assert {status for status, _ in badly.values()} == {"failed"}
    assert all(error.startswith("the payload ") for _, error in badly.values()), badly
    assert "cannot be read" in badly["beyond any text"][1]
    assert "70,000,002 bytes, more than 67,108,864" in badly["70 MB"][1]
    assert "does not fit" in badly["60 MB"][1]


async def test_rows_with_other_columns_gone_wrong_stall_nobody(shop: Shop) -> None:
    odd = {
        "attempts at their end": await poison(shop, "count", attempt="2147483647"),
        "an unknown cause": await poison(shop, "count", wake="'moonlight'"),
        "due since ever": await poison(shop, "count", run_at="'-infinity'"),
        "a limit that is no number": await poison(shop, "count", timeout_s="'NaN'"),
        "a limit without end": await poison(shop, "count", timeout_s="'Infinity'"),
        "a trace that is none": await poison(shop, "count", traceparent="'x'"),
        "a type that nobody knows": await poison(shop, "nope", attempt="2"),
    }
    good = await shop.enqueue("count", {"a": 1})

    async with shop.worker(HANDLERS) as crew:
        await crew.ended(good)
        told = await ended(shop, crew, odd)

    assert (await shop.ran(good)).status == "succeeded"
    assert {status for status, _ in told.values()} <= {"succeeded", "failed"}


async def test_a_large_payload_is_read_by_itself_and_runs(shop: Shop) -> None:
    large = await shop.enqueue("count", {"text": "".join(map(str, range(100_000)))})

    async with shop.worker(HANDLERS) as crew:
        await crew.ended(large)

    ran = await shop.ran(large)
    assert (ran.status, ran.result) == ("succeeded", 488_902)


@pytest.mark.parametrize(
    "way", [{}, {"plain": True}, {"plain": True, "since": NIL, "follows": True}], ids=len
)
async def test_what_comes_with_a_claim_is_bounded(shop: Shop, way: dict[str, Any]) -> None:
    for _ in range(50):
        await poison(shop, payload="to_jsonb(repeat('x', 300000))")
        await poison(shop, payload="to_jsonb(array_fill(1e131071::numeric, ARRAY[3]))")
        await poison(shop, payload='\'{"to": "a"}\'')
    async with (
        connect(shop.dsn) as conn,
        open_dispatch(shop.dsn, RecordingObserver()) as dispatch,
    ):
        worker = await add_worker(conn)

        claim = await dispatch.claim(
            ["default"],
            worker_id=worker,
            token=1,
            limit=1_000,
            lanes=16,
            cursor=NIL,
            cause=Wake.POLL,
            **way,
        )

    came = [lease.payload for lease in claim.leases if lease.payload is not None]
    assert len(claim.leases) == 150
    assert came == [b'{"to": "a"}'] * 50
    assert sum(map(len, came)) <= CLAIM_BYTES


@pytest.mark.slow
async def test_such_rows_can_be_looked_at(database_url: str, shop: Shop) -> None:
    shown = {
        await poison(shop, payload="'1e131071'"): 200,
        await poison(shop, payload="(repeat('[', 300) || repeat(']', 300))::jsonb"): 200,
        await poison(shop, attempt="2147483647"): 200,
        await poison(shop, run_at="'infinity'"): 200,
        await poison(shop, run_at="'-infinity'"): 200,
        await poison(shop, timeout_s="'NaN'"): 200,
    }
    async with open_front(database_url) as front:
        key = await make_key(front.pool, "acme", Scope.READ)
        async with client_of(front.app, key) as client:
            told = {job: (await client.get(f"/v1/jobs/{job}")).status_code for job in shown}
            listed = await client.get("/v1/jobs")
            beyond = await poison(shop, payload=_BEYOND_TEXT)
            refused = await client.get(f"/v1/jobs/{beyond}")

    assert told == shown
    assert {job.id for job in msgspec.json.decode(listed.content, type=Listed).data} == set(shown)
    assert (refused.status_code, "of this size" in refused.text) == (413, True)
