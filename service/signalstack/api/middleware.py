"""The edge: the outermost ASGI layer; every request is named, traced, counted and answered."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import anyio
from starlette.routing import Match, Router

from signalstack.api import codec, headers, problems, target
from signalstack.api.operation import EXCHANGE, Exchange
from signalstack.core.errors import NotFoundError
from signalstack.core.log import bind, get_logger, unbind
from signalstack.core.stage import Requested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send

    from signalstack.api.operation import Resource
    from signalstack.core.stage import Attributes, Observer

PREFIX: Final = "/v1"
UNMATCHED: Final = "unmatched"
CLIENT_GONE: Final = 499  # nobody is answered; the number that nginx made customary in figures
# How long and how much is read of a body that was refused: closing a connection while bytes
# arrive resets it, and the caller would never read why.
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1_048_576

_REFUSED: Final = 400
_SLOW: Final = 408
_FAILED: Final = 500
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LOG: Final = get_logger("signalstack.api")


class Edge:
    """Answers every HTTP request from its routes; lifespan and websockets are left to Starlette."""

    def __init__(self, routes: Sequence[Route], observer: Observer) -> None:
        self._routes = routes
        self._fixed = {route.path: route for route in routes if not route.param_convertors}
        self._observer = observer
        self._others = Router()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        if scope["type"] != "http":
            await self._others(scope, receive, send)
            return
        scope = _below_prefix(scope)
        folded = headers.fold(scope["headers"])
        request_id = headers.request_id(folded)
        wire = _Wire(receive, send, request_id, pending=headers.expects_body(folded))
        bound = bind(request_id=request_id)
        try:
            await self._watch(scope, wire, folded, request_id)
        finally:
            unbind(bound)

    async def _watch(
        self, scope: Scope, wire: _Wire, folded: headers.Headers, request_id: str
    ) -> None:
        started = perf_counter()
        resource = self._find(scope)
        label = resource.route if resource else UNMATCHED
        # A method is any token: in a label only those that are known may stand.
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        parent = headers.traceparent(folded)
        attributes = _attributes(scope, method, label)
        with self._observer.span(
            f"{method} {label}", "server", parent=parent, attributes=attributes
        ) as span:
            scope[EXCHANGE] = Exchange(
                request_id=request_id,
                headers=folded,
                traceparent=span.traceparent or parent,
                told=wire.told,
            )
            await _answer(resource, scope, wire)
            span.set({"http.response.status_code": wire.status})
            if wire.status >= _FAILED:
                span.set({"error.type": str(wire.status)})
                span.fail(f"answered {wire.status}")
            spent_s = perf_counter() - started
            self._observer.tell(
                Requested(method=method, route=label, status=wire.status, duration_s=spent_s)
            )
            log = _LOG.info if wire.status >= _REFUSED else _LOG.debug
            log("request", method=method, route=label, status=wire.status, duration_s=spent_s)

    def _find(self, scope: Scope) -> Resource | None:
        fixed = self._fixed.get(scope["path"].removeprefix(scope["root_path"]))
        if fixed is not None:  # for a tenth of what it takes to match one route after another
            scope["path_params"] = {}
            return cast("Resource", fixed.endpoint)
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return cast("Resource", route.endpoint)
        return None


class _Wire:
    """Both directions of one request: whether all of it has arrived, and what has left."""

    def __init__(self, receive: Receive, send: Send, request_id: str, *, pending: bool) -> None:
        self._receive = receive
        self._send = send
        self.told = [(b"x-request-id", request_id.encode("ascii"))]
        self._pending = pending
        self.status = CLIENT_GONE
        self.answering = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answering = True
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self.told]}
        elif self._pending and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        left = 0 if self.status == _SLOW else LINGER_BYTES
        with anyio.move_on_after(LINGER_S):
            while self._pending and left > 0:
                message = await self.receive()
                left -= len(message.get("body", b""))


def _attributes(scope: Scope, method: str, label: str) -> Attributes:
    """Describe a request without its query and headers, which may hold what is nobody's business.

    A path that is not served may hold anything at all.
    """
    known = {} if label == UNMATCHED else {"url.path": scope["path"]}
    return {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "http.route": label,
        "url.scheme": scope.get("scheme", "http"),
        **known,
    }


async def _answer(resource: Resource | None, scope: Scope, wire: _Wire) -> None:
    exchange: Exchange = scope[EXCHANGE]
    try:
        headers.refuse_unsound(scope["headers"])
        headers.refuse_ambiguous(scope["headers"], exchange.headers)
        target.check(scope, exchange.headers)
        await (resource or _nothing)(scope, wire.receive, wire.send)
    except problems.DisconnectedError:
        pass  # nobody is left to be answered
    except Exception as error:  # noqa: BLE001 - the ASGI edge: whatever it is, the caller gets a problem
        await _refuse(error, scope, wire, exchange.request_id)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application
    raise NotFoundError("nothing is served under this path")


async def _refuse(error: Exception, scope: Scope, wire: _Wire, request_id: str) -> None:
    if problems.kind_of(error) is problems.BUG:
        _LOG.exception("request_failed")
    if wire.answering:
        return  # a status has left already; stopping here cuts the answer short, which shows
    problem = problems.describe(error, instance=quote(scope["path"]), request_id=request_id)
    content = codec.encode(problem)
    lines = problems.headers_for(error)
    lines.append((b"content-length", str(len(content)).encode("ascii")))
    if problems.ends_connection(error) and not scope.get("http_version", "1.1").startswith("2"):
        lines.append((b"connection", b"close"))
    await wire.send({"type": "http.response.start", "status": problem.status, "headers": lines})
    shown = b"" if scope["method"] == "HEAD" else content
    await wire.send({"type": "http.response.body", "body": shown})


def _below_prefix(scope: Scope) -> Scope:
    """Copy the scope with `/v1` counted as where the application is mounted, if the path has it."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    below = path.removeprefix(root)
    if below.startswith(PREFIX + "/"):
        root += PREFIX
    return {**scope, "root_path": root, "headers": list(scope["headers"])}
