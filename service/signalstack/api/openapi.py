"""The OpenAPI 3.1 document, made from the operations that serve and the structs that they read."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, get_args

from signalstack.api import examples, openapi_problem, stream
from signalstack.api.openapi_schema import REFERENCE, describe, spread, without_null
from signalstack.api.openapi_text import HEADERS, INTRODUCTION, REQUEST_HEADERS, TAGS
from signalstack.api.openapi_webhook import webhooks
from signalstack.api.problems import Problem
from signalstack.core.job import JobRequest
from signalstack.core.schedule import ScheduledJob
from signalstack.core.subscription import JobTemplate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from signalstack.api.openapi_schema import Node
    from signalstack.api.operation import AnyOperation
    from signalstack.core.handler import Registry

VERSION: Final = "3.1.1"
_OWN: Final = "service"


def build(operations: Sequence[AnyOperation], registry: Registry) -> Node:
    """Make the document; the same operations and job types always make the same one."""
    drawer = _Drawer(operations, registry)
    paths: dict[str, Node] = {}
    for operation in operations:
        paths.setdefault(operation.route, {})[operation.method.lower()] = drawer.draw(operation)
    return {
        "openapi": VERSION,
        "info": {
            "title": "SignalStack",
            "version": metadata.version("signalstack"),
            "summary": "Event-driven jobs on PostgreSQL.",
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(operations),
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "ss_…"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": drawer.components,
            "responses": openapi_problem.components(),
            "headers": {
                name: {
                    "description": told,
                    "schema": {"type": "string"},
                    "required": name == "X-Request-ID",
                }
                for name, told in HEADERS.items()
            },
        },
    }


class _Drawer:
    """Draws operations, whose types it has described before."""

    def __init__(self, operations: Sequence[AnyOperation], registry: Registry) -> None:
        self._registry = registry
        bodies = [kind for operation in operations for kind in _bodies(operation).values()]
        queries = [operation.query for operation in operations if operation.query]
        answers = [kind for operation in operations for kind in _answers(operation)]
        kinds = [*bodies, *answers, *queries, Problem]
        made, components = describe(kinds)
        self._schemas = dict(zip(kinds, made, strict=True))
        # A query is told parameter by parameter.
        self._queries = {query: components[query.__name__] for query in queries}
        for query in queries:
            components.pop(query.__name__, None)
        if registry:
            components |= spread(components[JobRequest.__name__], registry)
            for kind in (JobTemplate, ScheduledJob):
                template = components[kind.__name__]
                template["properties"]["type"] = {"type": "string", "enum": sorted(registry)}
        self.components = dict(sorted(components.items()))

    def draw(self, operation: AnyOperation) -> Node:
        """Draw an operation with all that may be sent and answered."""
        needs = operation.needs
        drawn: Node = {
            "operationId": operation.handler.__name__,
            "summary": operation.summary,
            "description": inspect.getdoc(operation.handler) or operation.summary,
            "tags": [_tag(operation)],
            "security": [{"bearer": [needs.value]}, {"apiKey": [needs.value]}] if needs else [],
        }
        if parameters := [
            *_in_path(operation),
            *self._in_query(operation),
            *_in_headers(operation),
        ]:
            drawn["parameters"] = parameters
        if operation.body is not None:
            drawn["requestBody"] = self._body(operation)
        answers = {str(status): self._answer(operation, status) for status in operation.answers}
        drawn["responses"] = answers | openapi_problem.responses(operation)
        return drawn

    def _in_query(self, operation: AnyOperation) -> Iterator[Node]:
        if operation.query is None:
            return
        described = self._queries[operation.query]
        for name, schema in described["properties"].items():
            plain = without_null(schema)
            told = plain.pop("description", "")
            required = name in described.get("required", ())
            yield _parameter(name, "query", told, plain, required=required)

    def _body(self, operation: AnyOperation) -> Node:
        found = examples.of(operation.handler.__name__, self._registry)
        content: dict[str, Node] = {}
        for media, kind in _bodies(operation).items():
            content[media] = {"schema": self._schemas[kind]}
            if fitting := [example for example in found if example.media == media]:
                content[media]["examples"] = {
                    example.name: {"summary": example.summary, "value": example.value}
                    for example in fitting
                }
        return {"required": not operation.optional_body, "content": content}

    def _answer(self, operation: AnyOperation, status: int) -> Node:
        names = ["X-Request-ID", *operation.tells.get(status, ())]
        if operation.needs is not None:
            names += ["RateLimit", "RateLimit-Policy"]
        answer: Node = {
            "description": HTTPStatus(status).phrase,
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        }
        kind = operation.answers[status]
        if kind is not None:
            schemas = [self._schemas[part] for part in _union(kind)]
            schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            answer["description"] += self._gist(schema)
            if operation.produces == stream.MEDIA_TYPE:
                schema = _server_sent(schema)
            answer["content"] = {operation.produces: {"schema": schema}}
        return answer

    def _gist(self, schema: Node) -> str:
        """Take the first sentence of what is said about a component."""
        name = schema.get("$ref", "").removeprefix(REFERENCE)
        told: str = self.components[name].get("description", "") if name else ""
        gist = told.partition("\n\n")[0]
        return f". {gist}" if gist else ""


def _bodies(operation: AnyOperation) -> dict[str, Any]:
    """Tell the types of an operation's body by media type."""
    if operation.body is None:
        return {}
    return dict(operation.shapes) or dict.fromkeys(operation.media, operation.body)


def _answers(operation: AnyOperation) -> Iterator[Any]:
    for kind in operation.answers.values():
        if kind is not None:
            yield from _union(kind)


def _union(kind: Any) -> Sequence[Any]:
    """Take a union apart: structs without a tag can be written so, but not read."""
    return get_args(kind) if not isinstance(kind, type) and get_args(kind) else (kind,)


def _server_sent(data: Node) -> Node:
    """Describe each of the server-sent events of a stream, as OpenAPI 3.2 does."""
    properties: Node = {
        "event": {"type": "string"},
        "id": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": data,
        },
    }
    return {"type": "object", "properties": properties, "required": ["data"]}


def _tags(operations: Sequence[AnyOperation]) -> list[Node]:
    used = dict.fromkeys(map(_tag, operations))
    order = [*(tag for tag in TAGS if tag in used), *(tag for tag in used if tag not in TAGS)]
    return [{"name": tag, "description": TAGS.get(tag, "")} for tag in order]


def _tag(operation: AnyOperation) -> str:
    return operation.path.split("/")[1] if operation.versioned else _OWN


def _in_path(operation: AnyOperation) -> Iterator[Node]:
    for part in operation.path.split("/"):
        if part == "{id}":
            told = f"The id of the {_tag(operation).rstrip('s')}."
            yield _parameter("id", "path", told, {"type": "string", "format": "uuid"})
        elif part.startswith("{"):
            told = f"The {part[1:-1]} of the {_tag(operation).rstrip('s')}."
            schema: Node = {"type": "string", "minLength": 1}
            yield _parameter(part[1:-1], "path", told, schema)


def _in_headers(operation: AnyOperation) -> Iterable[Node]:
    for name in operation.reads:
        told, example = REQUEST_HEADERS[name]
        yield {
            **_parameter(name, "header", told, {"type": "string"}, required=False),
            "example": example,
        }


def _parameter(name: str, where: str, told: str, schema: Node, *, required: bool = True) -> Node:
    described = {"description": told} if told else {}
    return {"name": name, "in": where, "required": required, **described, "schema": schema}
