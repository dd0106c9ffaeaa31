"""Hypercorn over a real socket: what cannot be asked without one."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import httpx2
import msgspec
import pytest

from contexts import Witness
from front import PATIENCE_S, READ_LIMIT, edge_alone, served, talk
from signalstack.api import health
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.parts import Limits
from signalstack.api.serve import bind, serve
from signalstack.core.errors import SettingsError
from signalstack.core.stage import Requested

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Thing(msgspec.Struct, kw_only=True):
    name: str


async def echo(call: Call[Thing, None]) -> Answer:
    return Answer(status=201, body=call.body)


OPERATIONS = (
    Operation(
        method="POST",
        path="/things",
        summary="for this test",
        handler=echo,
        body=Thing,
        answers={201: Thing},
        needs=None,
    ),
    *health.OPERATIONS,
)
HOST = "127.0.0.1"
LIMITS = Limits(max_body_bytes=100_000, body_timeout_s=0.1)
HEAD = b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
NEXT = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def port() -> AsyncGenerator[int]:
    async with served(edge_alone(OPERATIONS, Witness(), LIMITS)) as port:
        yield port


async def test_a_body_may_come_in_chunks(port: int) -> None:
    heard = await talk(
        port,
        HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'4\r\n{"na\r\n8\r\nme":"x"}\r\n0\r\n\r\n',
    )

    assert heard.startswith(b"HTTP/1.1 201")
    assert heard.endswith(b'{"name":"x"}')
    assert b"\r\nserver:" not in heard.lower()


async def test_length_beside_transfer_encoding_ends_the_connection(port: int) -> None:
    smuggled = b"0\r\n\r\n" + NEXT

    heard = await talk(
        port, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled
    )

    assert heard.startswith(b"HTTP/1.1 400")
    assert heard.count(b"HTTP/1.1") == 1
    assert b"application/problem+json" in heard


@pytest.mark.parametrize("sent", [b"", b'{"name"'])
async def test_a_slow_body_is_not_waited_for(port: int, sent: bytes) -> None:
    heard = await talk(port, HEAD + b"Content-Length: 20\r\n\r\n" + sent)

    assert heard.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in heard.lower()


async def test_too_large_by_its_length_is_told_although_it_is_sent(port: int) -> None:
    size = 1_000_000

    heard = await talk(port, HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)

    assert heard.startswith(b"HTTP/1.1 413")
    assert b"1000000 bytes" in heard


async def test_too_large_in_chunks_is_told_while_they_come(port: int) -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

    heard = await talk(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 8)

    assert heard.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_refused(port: int, sent: bytes) -> None:
    heard = await talk(port, sent)

    assert heard.startswith(b"HTTP/1.1 400")


async def test_a_head_without_end_is_refused(port: int) -> None:
    heard = await talk(port, b"GET /live HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000)

    assert heard.startswith(b"HTTP/1.1 431")


async def test_a_connection_outlives_a_refused_request(port: int) -> None:
    heard = await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{]" + NEXT)

    assert heard.startswith(b"HTTP/1.1 400")
    assert b"HTTP/1.1 200" in heard


async def test_an_unread_body_does_not_spoil_the_next_request(port: int) -> None:
    heard = await talk(
        port, b"POST /v1/nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde" + NEXT
    )

    assert heard.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200" in heard


async def test_a_caller_who_leaves_midway_does_no_harm() -> None:
    witness = Witness()
    async with served(edge_alone(OPERATIONS, witness)) as port:
        await talk(port, HEAD + b"Content-Length: 20\r\n\r\n{", end=True)
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/live")

    assert answer.status_code == 200
    statuses = [fact.status for fact in witness.facts if isinstance(fact, Requested)]
    assert sorted(statuses) == [200, 499]


async def test_a_used_port_is_a_matter_of_settings() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=f"PORT={port} is in use"):
            await bind("127.0.0.1", port)


async def test_a_port_that_another_took_since_it_was_bound_is_a_matter_of_settings() -> None:
    # Two may bind it while neither listens: who comes second to that is told then.
    first = await bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with first, await bind("127.0.0.1", port) as second:
        first.listen()

        with pytest.raises(SettingsError, match=f"PORT={port} is in use"):
            await serve(edge_alone((), Witness()), at=second, shutdown=anyio.Event())


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b"])
async def test_a_wrong_host_is_a_matter_of_settings(host: str) -> None:
    with pytest.raises(SettingsError, match=f"HOST={host} .*127.0.0.1"):
        await bind(host, 0)


async def test_what_is_under_way_at_shutdown_is_answered() -> None:
    entered, shutdown = anyio.Event(), anyio.Event()

    async def wait(call: Bare) -> Answer:
        entered.set()
        await shutdown.wait()
        return Answer(body=call.path)

    operation = Operation(
        method="GET", path="/wait", summary="for this test", handler=wait, answers={}, needs=None
    )
    with anyio.fail_after(PATIENCE_S):
        async with served(edge_alone([operation], Witness()), shutdown=shutdown) as port:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await entered.wait()
        async with stream:
            assert (await stream.receive(READ_LIMIT)).startswith(b"HTTP/1.1 200")


def hanging(entered: anyio.Event, cancelled: anyio.Event) -> Operation[None, None]:
    async def hang(call: Bare) -> Answer:
        entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Answer(body=call.path)

    return Operation(
        method="GET", path="/hang", summary="for this test", handler=hang, answers={}, needs=None
    )


async def test_what_does_not_end_is_ended_after_the_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered, cancelled = anyio.Event(), anyio.Event()
    app = edge_alone([hanging(entered, cancelled)], Witness())

    with anyio.fail_after(PATIENCE_S):
        async with served(app, grace_s=0.1) as port:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            await entered.wait()
        assert cancelled.is_set()
        await stream.aclose()
    assert caplog.text == ""


async def test_being_cancelled_ends_everything_at_once(caplog: pytest.LogCaptureFixture) -> None:
    entered, cancelled = anyio.Event(), anyio.Event()
    app = edge_alone([hanging(entered, cancelled), *OPERATIONS], Witness())

    async with AsyncExitStack() as callers:
        with anyio.fail_after(PATIENCE_S), anyio.CancelScope() as scope:
            async with served(app, grace_s=60) as port:
                idle = await callers.enter_async_context(await anyio.connect_tcp(HOST, port))
                await idle.send(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
                await idle.receive(READ_LIMIT)
                busy = await callers.enter_async_context(await anyio.connect_tcp(HOST, port))
                await busy.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
                await entered.wait()
                scope.cancel()
    assert scope.cancelled_caught
    assert cancelled.is_set()
    assert caplog.text == ""


async def test_an_answer_that_nobody_reads_holds_up_no_shutdown() -> None:
    entered = anyio.Event()

    async def flood(_call: Bare) -> Answer:
        entered.set()
        return Answer(body="x" * 20_000_000)

    operation = Operation(
        method="GET", path="/flood", summary="for this test", handler=flood, answers={}, needs=None
    )
    with anyio.fail_after(PATIENCE_S):
        async with served(edge_alone([operation], Witness()), grace_s=0.1) as port:
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
            await entered.wait()
        await stream.aclose()


async def test_what_runs_beside_the_server_outlives_it() -> None:
    shutdown, served, outlived = anyio.Event(), anyio.Event(), anyio.Event()

    async def serve_to_the_end() -> None:
        at = await bind("127.0.0.1", 0)
        await serve(edge_alone((), Witness()), at=at, shutdown=shutdown)
        served.set()

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_to_the_end)
            shutdown.set()
            await served.wait()
            outlived.set()

    assert outlived.is_set()  # a group that is cancelled from inside ends without a word
