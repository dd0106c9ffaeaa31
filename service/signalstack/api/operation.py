"""An operation: a method on a path with its types, and the way from a request to its handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from starlette.routing import Route

from signalstack.api import auth, body, codec, pouring
from signalstack.api.deadline import Deadlines
from signalstack.api.headers import Headers
from signalstack.api.parts import Parts
from signalstack.api.problems import MethodNotAllowedError, SlowBodyError
from signalstack.core import key
from signalstack.core.actor import acting
from signalstack.core.errors import UnauthenticatedError, UnavailableError

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.types import Receive, Scope, Send

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")

EXCHANGE: Final = "signalstack.exchange"
JSON: Final = "application/json"

_SLOW_BODY: Final = partial(SlowBodyError, "the body was not complete in time")
_NO_ANSWER: Final = partial(
    UnavailableError,
    "PostgreSQL did not answer in time; whether the request took effect is not known",
)


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What the edge found out about a request before it reached its operation.

    `told` are headers of the answer, whatever that will be.
    """

    request_id: str
    headers: Headers
    traceparent: str | None
    told: list[tuple[bytes, bytes]]


class Call(msgspec.Struct, Generic[BodyT, QueryT], frozen=True, kw_only=True):
    """One call of an operation, with all of it checked and typed."""

    parts: Parts
    principal: key.Principal | None
    exchange: Exchange
    path: Mapping[str, str]
    body: BodyT
    query: QueryT

    @property
    def user_id(self) -> UUID:
        """The tenant, known from the key alone."""
        if self.principal is None:
            raise UnauthenticatedError("this operation belongs to a tenant")
        return self.principal.user_id

    @property
    def id(self) -> UUID:
        """The `{id}` of the path; NotFoundError when it is no UUID."""
        return codec.identify(self.path["id"])


Bare = Call[None, None]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler says: a status, a struct to encode (None: no content), and headers.

    A body of bytes leaves as it is, of the media type `media`. `chunks` is a body that comes bit by
    bit, for as long as it takes; its headers are complete.
    """

    status: int = 200
    body: object = None
    media: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    chunks: AsyncGenerator[bytes] | None = None


def _at_once(_call: object) -> float:
    return 0.0


class Operation(msgspec.Struct, Generic[BodyT, QueryT], frozen=True, kw_only=True):
    """A row of the route table: it serves, and it is what the API description is made from.

    `path` is the pattern below `/v1`; `versioned` is False for what belongs to the process rather
    than to the API; `needs` is the scope that a key must have, None where no key is asked for;
    `decode` reads bodies that are more than one JSON struct, and `shapes` are those by media type;
    `patience` is how many seconds a call may take beyond what any request may.

    What only the description needs: `conflicts` says when the answer is 409, where it can be;
    `reads` and `tells` name headers of the request and of each answer; `produces` is the media type
    of answers with content; `optional_body` says that the body may be missing.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Call[BodyT, QueryT]], Awaitable[Answer]]
    answers: Mapping[int, Any]
    needs: key.Scope | None
    body: type[BodyT] | None = None
    query: type[QueryT] | None = None
    media: Sequence[str] = (JSON,)
    decode: Callable[[bytes], BodyT] | None = None
    shapes: Mapping[str, Any] = {}
    versioned: bool = True
    patience: Callable[[Call[BodyT, QueryT]], float] = _at_once
    conflicts: str | None = None
    reads: Sequence[str] = ()
    tells: Mapping[int, Sequence[str]] = {}
    produces: str = JSON
    optional_body: bool = False

    @property
    def route(self) -> str:
        """The full pattern, as metrics, spans and logs name it."""
        return f"/v1{self.path}" if self.versioned else self.path


AnyOperation = Operation[Any, Any]


class Resource:
    """The operations of one path as an ASGI application; errors are left to the edge."""

    def __init__(
        self, operations: Sequence[AnyOperation], parts: Parts, deadlines: Deadlines
    ) -> None:
        self.route = operations[0].route
        self._parts = parts
        self._deadlines = deadlines
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        method = scope["method"]
        operation = self._operations.get(method)
        if operation is None:
            raise MethodNotAllowedError(method, sorted(self._operations))
        answer = await _perform(operation, self._parts, self._deadlines, scope, receive)
        if answer.chunks is not None:
            await pouring.pour(
                answer.chunks,
                receive,
                send,
                status=answer.status,
                headers=answer.headers,
                hide_body=method == "HEAD",
            )
        else:
            await _send(answer, send, hide_body=method == "HEAD")


def routes(operations: Iterable[AnyOperation], parts: Parts) -> list[Route]:
    """Make one route a path, whose endpoint knows all methods of it: so that 405 can name them."""
    by_path: dict[str, list[AnyOperation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    deadlines = Deadlines()
    return [Route(path, Resource(same, parts, deadlines)) for path, same in by_path.items()]


async def _perform(
    operation: AnyOperation, parts: Parts, deadlines: Deadlines, scope: Scope, receive: Receive
) -> Answer:
    exchange: Exchange = scope[EXCHANGE]
    timeout_s = parts.limits.request_timeout_s
    principal = None
    with deadlines.steps() as steps:
        if operation.needs is not None:
            asked = (exchange.headers, operation.needs, parts.authenticator)
            principal = auth.readmit(*asked)
            if principal is None:
                steps.allow(timeout_s, _NO_ANSWER)
                principal = await auth.admit(*asked)
            if parts.rate_limit is not None:
                parts.rate_limit.spend(principal.key_id, exchange.told)
        query = codec.read_query(scope["query_string"], operation.query)
        content: object = None
        if operation.body is not None:
            body.check_media(exchange.headers, operation.media)
            steps.allow(parts.limits.body_timeout_s, _SLOW_BODY)
            limit = parts.limits.max_body_bytes
            received = await body.read(exchange.headers, receive, limit=limit)
            if operation.decode is not None:
                content = operation.decode(received)
            else:
                content = codec.decode(received, operation.body)
        call = Call(
            parts=parts,
            principal=principal,
            exchange=exchange,
            path=scope["path_params"],
            body=content,
            query=query,
        )
        with acting("nobody" if principal is None else f"key {principal.key_id}"):
            steps.allow(timeout_s + operation.patience(call), _NO_ANSWER)
            return await operation.handler(call)


async def _send(answer: Answer, send: Send, *, hide_body: bool) -> None:
    body = b"" if answer.body is None else answer.body
    content = body if isinstance(body, bytes) else codec.encode(body)
    headers = list(answer.headers)
    if answer.body is not None:
        headers.append((b"content-type", answer.media.encode("ascii")))
        headers.append((b"content-length", str(len(content)).encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if hide_body else content})
