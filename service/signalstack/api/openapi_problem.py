"""Problem responses of an OpenAPI document, from the one table of problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from signalstack.api.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX, Problem
from signalstack.core import errors

if TYPE_CHECKING:
    from signalstack.api.openapi_schema import Node
    from signalstack.api.operation import AnyOperation

_EXAMPLE_ID: Final = "0198c0de-0000-7000-8000-000000000001"
_WHEN: Final = {
    400: "The JSON, a header or the query string is malformed.",
    401: "There is no API key, or none that is valid.",
    403: "The key lacks the scope that is needed.",
    404: "There is nothing of this id or name, or it is another tenant's.",
    405: "The path does not know this method; `Allow` names those that it knows.",
    408: "The body did not arrive in time.",
    409: "The state forbids it.",
    413: "The body is too large.",
    415: "The body has a media type, charset or encoding that is not read here.",
    422: "The body is well-formed but wrong; `errors` points at what is.",
    429: "The key makes more requests than it may.",
    431: "There are more than 100 headers, or more than 16 KiB of them.",
    503: "PostgreSQL is away or too slow; try again.",
    505: "HTTP/2 is not served without TLS; use HTTP/1.1.",
}
_HEADERS: Final = {401: ("WWW-Authenticate",), 405: ("Allow",)}
_LATER: Final = (429, 503)
_NAMES: Final = {kind.status: kind.name for kind in KINDS.values()}


def components() -> dict[str, Node]:
    """Make a response for each kind of problem, by its name."""
    return {kind.name: _response(kind.status, kind.title) for kind in KINDS.values()}


def responses(operation: AnyOperation) -> dict[str, Node]:
    """Refer to the problems that an operation can answer with, by status."""
    found: dict[str, Node] = {}
    for status in sorted(_statuses(operation)):
        reference: Node = {"$ref": f"#/components/responses/{_NAMES[status]}"}
        if status == 409 and operation.conflicts:  # noqa: PLR2004 - the status that is told apart
            reference["description"] = operation.conflicts
        found[str(status)] = reference
    return found


def _statuses(operation: AnyOperation) -> set[int]:
    found = {400}
    if operation.needs is not None:
        found |= {401, 403, 429, 503}
    if "{" in operation.path:
        found.add(404)
    if operation.body is not None:
        found |= {408, 413, 415, 422}
    if "Idempotency-Key" in operation.reads:
        found.add(422)
    if operation.conflicts is not None:
        found.add(409)
    return found - operation.answers.keys()


def _response(status: int, title: str) -> Node:
    names = ("X-Request-ID", *_HEADERS.get(status, ()))
    headers: Node = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    if status in _LATER:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    content: Node = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": _example(status, title),
    }
    return {
        "description": _WHEN[status],
        "headers": headers,
        "content": {MEDIA_TYPE.decode("ascii"): content},
    }


def _example(status: int, title: str) -> Any:
    faults = ()
    if status == 422:  # noqa: PLR2004 - the one that points
        faults = (errors.Fault(pointer="/payload/to", detail="required field is missing"),)
    problem = Problem(
        type=TYPE_PREFIX + _NAMES[status],
        title=title,
        status=status,
        detail=faults[0].pointer + ": " + faults[0].detail if faults else _WHEN[status],
        instance="/v1/jobs",
        request_id=_EXAMPLE_ID,
        errors=faults,
    )
    return msgspec.to_builtins(problem)
