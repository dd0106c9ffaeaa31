"""The edge over HTTP: names, limits, problems and what is told of each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

from contexts import TRACEPARENT, Witness
from front import client_of, edge_alone
from signalstack.api import health
from signalstack.api.operation import Answer, Bare, Call, Operation
from signalstack.api.parts import Limits
from signalstack.core.errors import UnavailableError
from signalstack.core.stage import Requested

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    import httpx2
    from starlette.types import Message, Scope


class Thing(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    count: int = 0


class Told(msgspec.Struct, kw_only=True):
    request_id: str
    traceparent: str | None


async def echo(call: Call[Thing, None]) -> Answer:
    return Answer(status=201, body=call.body)


async def tell(call: Bare) -> Answer:
    exchange = call.exchange
    return Answer(body=Told(request_id=exchange.request_id, traceparent=exchange.traceparent))


async def break_down(call: Bare) -> Answer:
    raise ZeroDivisionError(f"a secret of {call.path}")


async def be_away(call: Bare) -> Answer:
    raise UnavailableError(f"PostgreSQL cannot be reached by {call.exchange.request_id}")


async def hang(call: Bare) -> Answer:
    await anyio.sleep_forever()
    return Answer(body=call.path)


def operation(
    method: str, path: str, handler: Callable[[Bare], Awaitable[Answer]]
) -> Operation[None, None]:
    return Operation(
        method=method,
        path=path,
        summary="for this test",
        handler=handler,
        answers={},
        needs=None,
    )


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
    operation("GET", "/things/{id}", tell),
    operation("DELETE", "/things/{id}", tell),
    operation("GET", "/broken/{id}", break_down),
    operation("GET", "/away", be_away),
    operation("GET", "/hanging", hang),
)
LIMITS = Limits(max_body_bytes=64, body_timeout_s=5, request_timeout_s=0.05)
JSON = {"content-type": "application/json"}


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
async def client(witness: Witness) -> AsyncGenerator[httpx2.AsyncClient]:
    async with client_of(edge_alone(OPERATIONS, witness, LIMITS)) as client:
        yield client


@pytest.mark.parametrize("path", ["/things", "/v1/things"])
async def test_routes_answer_with_and_without_the_prefix(
    client: httpx2.AsyncClient, witness: Witness, path: str
) -> None:
    answer = await client.post(path, json={"name": "a", "count": 2})

    assert answer.status_code == 201
    assert answer.json() == {"name": "a", "count": 2}
    assert answer.headers["content-type"] == "application/json"
    (fact,) = [fact for fact in witness.facts if isinstance(fact, Requested)]
    assert (fact.method, fact.route, fact.status) == ("POST", "/v1/things", 201)


async def test_the_span_has_route_and_status(client: httpx2.AsyncClient, witness: Witness) -> None:
    await client.get("/v1/things/7")

    (span,) = witness.spans
    assert (span.name, span.kind) == ("GET /v1/things/{id}", "server")
    assert span.attributes["http.route"] == "/v1/things/{id}"
    assert span.attributes["http.response.status_code"] == 200
    assert span.failure is None


async def test_a_sane_request_id_comes_back(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things/7", headers={"x-request-id": "mine-1"})

    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json()["request_id"] == "mine-1"


async def test_another_request_id_is_made(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things/7", headers={"x-request-id": "not sane"})

    assert answer.headers["x-request-id"] == answer.json()["request_id"] != "not sane"


async def test_the_trace_goes_on_with_our_span(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things/7", headers={"traceparent": TRACEPARENT})

    assert answer.json()["traceparent"].split("-")[1] == TRACEPARENT.split("-")[1]


async def test_head_is_get_without_the_body(client: httpx2.AsyncClient) -> None:
    answer = await client.head("/things/7")

    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


async def test_a_problem_says_what_and_where(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/things", json={"name": "a", "cuont": 1})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:signalstack:problem:invalid",
        "title": "Well-formed but wrong",
        "status": 422,
        "detail": "/cuont: unknown field",
        "instance": "/v1/things",
        "request_id": answer.headers["x-request-id"],
        "errors": [{"pointer": "/cuont", "detail": "unknown field"}],
    }


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v2/things", "/v1/v1/things", "/things/", "/things/1/2", "//things"],
)
async def test_an_unknown_path_is_not_found(
    client: httpx2.AsyncClient, witness: Witness, path: str
) -> None:
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:signalstack:problem:not-found"
    (fact,) = witness.facts
    assert isinstance(fact, Requested)
    assert fact.route == "unmatched"


async def test_another_method_is_refused_with_those_there_are(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/things/7")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD"


async def test_a_made_up_method_is_no_label(client: httpx2.AsyncClient, witness: Witness) -> None:
    await client.request("BREW", "/things/7")

    (fact,) = witness.facts
    assert isinstance(fact, Requested)
    assert (fact.method, fact.status) == ("OTHER", 405)


async def test_a_bug_is_logged_and_tells_nothing(
    client: httpx2.AsyncClient, witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/broken/4711")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert witness.spans[0].failure == "answered 500"


async def test_without_postgresql_there_is_a_time_to_come_back(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/away")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_a_handler_has_a_deadline(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/hanging")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        (JSON, b"", 400),
        (JSON, b'{"name": ', 400),
        (JSON, b'{"name": "a", "name": "b"}', 400),
        (JSON, b'{"name": 1}', 422),
        (JSON, b'{"name": "' + b"x" * 64 + b'"}', 413),
        ({}, b'{"name": "a"}', 415),
        ({"content-type": "text/plain"}, b'{"name": "a"}', 415),
        ({**JSON, "content-encoding": "gzip"}, b'{"name": "a"}', 415),
    ],
)
async def test_a_bad_body_is_refused(
    client: httpx2.AsyncClient, headers: dict[str, str], content: bytes, status: int
) -> None:
    answer = await client.post("/things", headers=headers, content=content)

    assert answer.status_code == status
    assert answer.json()["status"] == status


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(client: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 32

    answer = await client.post("/things", headers=JSON, content=endless())

    assert answer.status_code == 413


async def test_unknown_query_parameters_are_malformed(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/things/7?verbose=1")

    assert answer.status_code == 400


async def test_a_caller_who_leaves_midway_is_not_answered(witness: Witness) -> None:
    app = edge_alone(OPERATIONS, witness, LIMITS)
    heard: list[Message] = []
    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"{", "more_body": True},
    ]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/things",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")],
    }

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        heard.append(message)

    await app(scope, receive, send)

    assert heard == []
    (fact,) = witness.facts
    assert isinstance(fact, Requested)
    assert fact.status == 499


async def test_live_needs_nothing(witness: Witness) -> None:
    async with client_of(edge_alone(health.OPERATIONS, witness)) as client:
        assert (await client.get("/live")).json() == {"status": "live"}
        assert (await client.get("/v1/live")).status_code == 200


async def fine() -> str | None:
    return None


async def away() -> str | None:
    return "no connection"


async def never() -> str | None:
    await anyio.sleep_forever()
    return None


async def test_ready_when_every_part_is(witness: Witness) -> None:
    app = edge_alone(health.OPERATIONS, witness, readiness={"postgresql": fine})

    async with client_of(app) as client:
        ready, whole = await client.get("/ready"), await client.get("/health")

    assert ready.status_code == whole.status_code == 200
    assert ready.json()["parts"] == {"postgresql": {"ready": True, "reason": None}}
    assert whole.json() == {"status": "healthy", "live": True, "ready": True, "not_ready": []}


async def test_not_ready_with_a_reason_for_each_part(witness: Witness) -> None:
    app = edge_alone(
        health.OPERATIONS,
        witness,
        Limits(check_timeout_s=0.05),
        {"listener": never, "postgresql": away, "schema": fine},
    )

    async with client_of(app) as client:
        ready, whole = await client.get("/ready"), await client.get("/health")

    assert ready.status_code == whole.status_code == 503
    assert ready.headers["retry-after"] == "1"
    assert {name: part["reason"] for name, part in ready.json()["parts"].items()} == {
        "listener": "gave no answer within 0.05 s",
        "postgresql": "no connection",
        "schema": None,
    }
    assert whole.json()["not_ready"] == ["listener", "postgresql"]
