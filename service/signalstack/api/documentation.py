"""The documentation as one page, made from the OpenAPI document: no script, nothing to load."""

from __future__ import annotations

import base64
from hashlib import sha256
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signalstack.api.documentation_text import (
    block,
    code,
    curl,
    fields,
    indented,
    inline,
    kind,
    notes,
    table,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.api.openapi_schema import Node

_LOOK: Final = "documentation.css"
_CALLS: Final = "**Calls** below work when pasted, once these are set (and ID or NAME where named):"
_VARIABLES: Final = "URL=http://localhost:8080\nKEY=ss_…"
_ERRORS: Final = (
    "Whatever is refused comes as problem details (RFC 9457). `type` names the kind and never "
    "changes, `detail` is a sentence for people, `request_id` is in our logs as well, and `errors` "
    "points into the body, by JSON Pointer."
)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page, and the Content-Security-Policy under which it is whole."""

    html: str
    policy: str


def render(document: Node) -> Page:
    """Make the page of an OpenAPI document."""
    look = resources.files(__package__ or "").joinpath(_LOOK).read_text(encoding="utf-8")
    writer = _Writer(document)
    title = f"{document['info']['title']} {document['info']['version']}"
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{look}</style></head><body>"
        f"{writer.navigation()}<main>{''.join(writer.content())}</main></body></html>\n"
    )
    digest = base64.b64encode(sha256(look.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return Page(html=html, policy=policy)


class _Writer:
    """Writes the parts of the page."""

    def __init__(self, document: Node) -> None:
        self._document = document
        self._components: Node = document["components"]
        self._tagged: dict[str, list[tuple[str, str, Node]]] = {
            tag["name"]: [] for tag in document["tags"]
        }
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                self._tagged[operation["tags"][0]].append((method.upper(), path, operation))

    def navigation(self) -> str:
        """List all that is on the page."""
        groups = [
            f'<li><a href="#tag-{tag}">{tag.capitalize()}</a><ul>'
            + "".join(
                f'<li><a href="#{operation["operationId"]}">{_method(method)} '
                f"<span>{escape(_short(path))}</span></a></li>"
                for method, path, operation in operations
            )
            + "</ul></li>"
            for tag, operations in self._tagged.items()
        ]
        rest = (("webhooks", "Webhooks"), ("errors", "Errors"), ("schemas", "Schemas"))
        groups += [f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name in rest]
        return (
            '<nav aria-label="Contents"><a class="home" href="#top">SignalStack</a>'
            f"<ul>{''.join(groups)}</ul></nav>"
        )

    def content(self) -> Iterator[str]:
        """Write everything, from top to bottom."""
        info = self._document["info"]
        yield f'<header id="top"><h1>{escape(info["title"])} <small>{escape(info["version"])}'
        yield f"</small></h1>{text(info['description'])}"
        yield '<p><a href="openapi.json">openapi.json</a> says the same to programs.</p>'
        yield text(_CALLS) + block(_VARIABLES) + "</header>"
        for tag in self._document["tags"]:
            yield f'<section><h2 id="tag-{tag["name"]}">{tag["name"].capitalize()}</h2>'
            yield text(tag["description"])
            for method, path, operation in self._tagged[tag["name"]]:
                yield from self._operation(method, path, operation)
            yield "</section>"
        yield from self._webhooks()
        yield from self._errors()
        yield '<section><h2 id="schemas">Schemas</h2>'
        for name, schema in self._components["schemas"].items():
            yield from self._schema(name, schema)
        yield "</section>"

    def _operation(self, method: str, path: str, operation: Node) -> Iterator[str]:
        yield f'<article id="{operation["operationId"]}"><h3>{_method(method)} '
        yield f'<span class="path">{escape(path)}</span></h3>'
        yield f'<p class="summary">{inline(operation["summary"])}</p>'
        yield text(operation["description"])
        scopes = [scope for entry in operation["security"] for scope in entry.get("bearer", ())]
        if scopes:
            yield f'<p class="scope">Needs a key with the scope {code(scopes[0])}.</p>'
        yield _parameters(operation)
        yield from self._body(operation)
        yield "<h4>Try it</h4>" + block(curl(method, path, operation))
        yield "<h4>Answers</h4>"
        yield self._answers(operation)
        yield "</article>"

    def _body(self, operation: Node) -> Iterator[str]:
        body = operation.get("requestBody")
        if body is None:
            return
        yield "<h4>Body</h4>" if body["required"] else "<h4>Body, if any</h4>"
        for media, content in body["content"].items():
            schema = content["schema"]
            yield f"<p>{code(media)}: {kind(schema)}</p>"
            if len(body["content"]) == 1:
                yield fields(self._resolve(schema))
            for example in content.get("examples", {}).values():
                yield f"<details><summary>{escape(example['summary'])}</summary>"
                yield block(indented(example["value"])) + "</details>"

    def _answers(self, operation: Node) -> str:
        rows: list[tuple[str, str, str]] = []
        for status, answer in operation["responses"].items():
            whole = self._resolve(answer)
            said = answer.get("description", whole["description"])
            content = whole.get("content", {})
            what = [f"{kind(inner['schema'])}{_media(media)}" for media, inner in content.items()]
            headers = " ".join(
                code(name) for name in whole.get("headers", {}) if name != "X-Request-ID"
            )
            rows.append((code(status), inline(said), "<br>".join([*what, headers])))
        return table(("Status", "Meaning", "Content and headers"), rows)

    def _webhooks(self) -> Iterator[str]:
        yield '<section><h2 id="webhooks">Webhooks</h2>'
        for methods in self._document["webhooks"].values():
            operation = methods["post"]
            yield text(operation["description"])
            yield _parameters(operation)
            content = operation["requestBody"]["content"]["application/json"]
            yield f"<h4>Body</h4>{text(operation['requestBody']['description'])}"
            yield block(indented(content["example"]))
            rows = [
                (code(status), inline(answer["description"]))
                for status, answer in operation["responses"].items()
            ]
            yield "<h4>What your answer means</h4>" + table(("Status", "Meaning"), rows)
        yield "</section>"

    def _errors(self) -> Iterator[str]:
        yield f'<section><h2 id="errors">Errors</h2>{text(_ERRORS)}'
        rows: list[tuple[str, str, str]] = []
        example: Any = None
        for answer in self._components["responses"].values():
            (content,) = answer["content"].values()
            shown = content["example"]
            example = shown if "errors" in shown else example
            rows.append((code(shown["status"]), code(shown["type"]), inline(answer["description"])))
        yield table(("Status", "Type", "When"), rows)
        yield block(indented(example)) + "</section>"

    def _schema(self, name: str, schema: Node) -> Iterator[str]:
        yield f'<article id="schema-{escape(name)}"><h3 class="name">{escape(name)}</h3>'
        yield text(schema.get("description", ""))
        if "properties" in schema:
            yield fields(schema)
        else:
            yield f"<p>{kind(schema)}</p>"
        yield "</article>"

    def _resolve(self, node: Node) -> Node:
        """Follow a reference into the components."""
        if "$ref" not in node:
            return node
        _, _, group, name = node["$ref"].split("/")
        return self._components[group][name]


def _method(method: str) -> str:
    return f'<b class="method {method.lower()}">{method}</b>'


def _short(path: str) -> str:
    return path.removeprefix("/v1")


def _media(media: str) -> str:
    return "" if media.endswith("json") else f" <small>{escape(media)}</small>"


def _parameters(operation: Node) -> str:
    rows = [
        (
            code(each["name"])
            + (' <span class="must">required</span>' if each["required"] else ""),
            each["in"],
            kind(each["schema"]),
            f"{inline(each.get('description', ''))} {notes(each['schema'])}".strip(),
        )
        for each in operation.get("parameters", ())
    ]
    made = table(("Name", "In", "Type", ""), rows)
    return f"<h4>Parameters</h4>{made}" if made else ""
