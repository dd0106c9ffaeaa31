"""Every bad request of the corpus over a real socket: its answer, and that it left no trace."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import pytest

from attacking import Case, load
from boarding import ON_BOARD
from front import GREET, PATIENCE_S, READ_LIMIT, Front, make_key, open_front, served
from rows import connect, rows
from signalstack.api.app import OPERATIONS
from signalstack.api.parts import Limits
from signalstack.core.key import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

    from rows import Database

CASES: Final = load()
LIMITS: Final = Limits(max_body_bytes=100_000, body_timeout_s=0.2)
NEXT: Final = b"GET /live HTTP/1.1\r\nHost: api.test\r\n\r\n"
PROBLEM: Final = "application/problem+json"


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection that HTTP answers are read from, one by one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: ByteStream | None = None
        self._heard = b""

    async def send(self, data: bytes) -> None:
        if self._stream is None:
            self._stream, self._heard = await anyio.connect_tcp("127.0.0.1", self._port), b""
        await self._stream.send(data)

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Read one answer; its end is known from Content-Length."""
        while b"\r\n\r\n" not in self._heard:
            self._heard += await self._receive()
        head, _, rest = self._heard.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        length = 0 if bodiless else int(headers.get("content-length", "0"))
        while len(rest) < length:
            rest += await self._receive()
        self._heard = rest[length:]
        return Answer(int(status_line.split()[1]), headers, rest[:length])

    async def ended(self) -> bool:
        """Tell whether the other side closes the connection, saying nothing more."""
        try:
            heard = await self._receive()
        except anyio.EndOfStream:
            heard = b""
        await self.close()
        return not heard

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
        self._stream = None

    async def _receive(self) -> bytes:
        if self._stream is None:
            raise anyio.EndOfStream
        try:
            return await self._stream.receive(READ_LIMIT)
        except anyio.BrokenResourceError:
            raise anyio.EndOfStream from None


@pytest.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    async with open_front(database_url, limits=LIMITS, job_types=(GREET, *ON_BOARD)) as front:
        yield front


@pytest.mark.slow
async def test_every_bad_request_is_refused_as_it_should_be_and_leaves_no_trace(
    front: Front, database_url: str
) -> None:
    names = await _furnish(front)
    before = await _contents(database_url)
    wrong: list[str] = []

    async with served(front.app) as port:
        wire = Wire(port)
        for case in CASES:
            try:
                with anyio.fail_after(PATIENCE_S):
                    await wire.send(case.written(names))
                    bodiless = case.send.startswith("HEAD ")
                    fault = _judge(case, await wire.answer(bodiless=bodiless))
                    fault = fault or await _afterwards(wire, case)
            except (anyio.EndOfStream, TimeoutError) as error:
                fault = f"no answer: {type(error).__name__}"
            if fault:
                await wire.close()
                wrong.append(f"{case.subject}: {case.name}: {fault}")
        await wire.close()

    assert not wrong, "\n".join(wrong)
    assert await _contents(database_url) == before


def test_the_corpus_is_large_and_its_cases_have_names_of_their_own() -> None:
    names = Counter((case.subject, case.name) for case in CASES)

    assert len(CASES) >= 150
    assert [name for name, count in names.items() if count > 1] == []


def test_every_operation_is_attacked() -> None:
    attacked = {_route(case.send) for case in CASES}
    known = {f"{operation.method} {operation.route}" for operation in OPERATIONS}

    assert sorted(known - attacked) == []


def _route(sent: str) -> str:
    """Tell the operation that a case is meant for: placeholders stand in its path."""
    method, _, target = sent.partition(" ")
    path = target.partition("?")[0]
    for operation in OPERATIONS:
        steps, given = operation.route.split("/"), path.split("/")
        fits = len(steps) == len(given) and all(
            a == b or a.startswith("{") for a, b in zip(steps, given, strict=True)
        )
        if fits and operation.method == method:
            return f"{method} {operation.route}"
    return sent


def _judge(case: Case, answer: Answer) -> str | None:
    """Say what is wrong with an answer."""
    told = f"{answer.status} {answer.body[:300].decode(errors='replace')}"
    if answer.status != case.expect:
        return f"expected {case.expect}, not {told}"
    if case.bare or case.send.startswith("HEAD "):
        return None
    if answer.headers.get("content-type") != PROBLEM:
        return f"no problem: {told}"
    fault = _judge_problem(case, answer.headers, msgspec.json.decode(answer.body))
    return fault and f"{fault}: {told}"


def _judge_problem(case: Case, headers: dict[str, str], problem: dict[str, Any]) -> str | None:
    pointers = [fault["pointer"] for fault in problem.get("errors", [])]
    if problem["status"] != case.expect or not problem["request_id"]:
        return "an incomplete problem"
    if problem["request_id"] != headers.get("x-request-id"):
        return "two request ids"
    if case.says not in problem["detail"]:
        return f"its detail lacks {case.says!r}"
    if case.pointer is not None and pointers[:1] != [case.pointer]:
        return f"pointed at {pointers}"
    return None


async def _afterwards(wire: Wire, case: Case) -> str | None:
    """Say what is wrong with the connection, or with the server, after an answer."""
    if case.ends and not await wire.ended():
        return "the connection goes on"
    await wire.send(NEXT)
    answer = await wire.answer()
    return None if answer.status == 200 else f"afterwards /live answered {answer.status}"


async def _furnish(front: Front) -> dict[str, str]:
    """Make what cases refer to by name."""

    async def made(path: str, body: dict[str, Any], field: str = "id") -> str:
        answer = await front.client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()[field]

    async def cursor(path: str) -> str:
        answer = await front.client.get(path)
        return answer.json()["next_cursor"]

    job = await made("/v1/jobs", {"type": "noop"})
    for _ in range(2):
        await made("/v1/jobs", {"type": "noop", "queue": "default"})
        await made("/v1/events", {"type": "order.paid"})
    foreign = await front.stranger.post("/v1/jobs", json={"type": "noop"})
    for _ in range(2):
        await front.stranger.post("/v1/jobs", json={"type": "noop"})
    foreign_cursor = await front.stranger.get("/v1/jobs?limit=1")
    hook = {"name": "hook", "url": "https://hooks.example.com/in"}
    tick = {"name": "tick", "cron": "@yearly", "job": {"type": "noop"}}
    rule = {"name": "rule", "event_type": "order.*", "job": {"type": "noop"}}
    return {
        "job": job,
        "event": await made("/v1/events", {"type": "order.paid"}),
        "endpoint": await made("/v1/endpoints", hook),
        "schedule": await made("/v1/schedules", tick),
        "subscription": await made("/v1/subscriptions", rule),
        "foreign": foreign.json()["id"],
        "unknown": "0198c0de-0000-7000-8000-000000000001",
        "cursor": await cursor("/v1/jobs?limit=1"),
        "cursor_pending": await cursor("/v1/jobs?limit=1&status=pending"),
        "cursor_events": await cursor("/v1/events?limit=1"),
        "cursor_foreign": foreign_cursor.json()["next_cursor"],
        "tenant_key": await make_key(front.pool, "acme", *Scope),
        "reader_key": await make_key(front.pool, "acme", Scope.READ),
        "writer_key": await make_key(front.pool, "acme", Scope.WRITE),
        "long": "x" * 300,
    }


async def _contents(dsn: str) -> dict[str, str]:
    """Hash what every table holds, to the last column of the last row."""
    async with connect(dsn) as conn:
        tables = await rows(
            conn,
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'signalstack'::regnamespace",
        )
        return {name: await _hash(conn, name) for (name,) in tables}


async def _hash(conn: Database, table: str) -> str:
    held = await rows(conn, f"SELECT t::text FROM signalstack.{table} AS t ORDER BY 1")  # noqa: S608 - a name of the catalogue
    return sha256(repr(held).encode()).hexdigest()
