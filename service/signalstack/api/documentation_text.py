"""Pieces of HTML for the documentation page: texts with a little Markdown, types, and fields."""

from __future__ import annotations

import re
import shlex
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signalstack.api.openapi_schema import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from signalstack.api.openapi_schema import Node

_CODE: Final = re.compile(r"`([^`]+)`")
_BOLD: Final = re.compile(r"\*\*([^*]+)\*\*")
_IN_PATH: Final = re.compile(r"\{(\w+)\}")
_SAMPLES: Final = {"date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z"}
_LINK: Final = re.compile(r"\[([^\]]+)\]\((https://[^)\s]+)\)")
# Longer patterns explain nothing to a reader.
_MAX_PATTERN: Final = 60


def text(markdown: str) -> str:
    """Turn paragraphs with code, bold words and links into HTML."""
    paragraphs = markdown.strip().split("\n\n") if markdown.strip() else []
    return "".join(f"<p>{inline(paragraph)}</p>" for paragraph in paragraphs)


def inline(markdown: str) -> str:
    """Turn code, bold words and links into HTML, within a line."""
    parts = _CODE.split(escape(markdown, quote=False))
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = f"<code>{part}</code>"
        else:
            bold = _BOLD.sub(r"<strong>\1</strong>", part)
            parts[index] = _LINK.sub(r'<a href="\2">\1</a>', bold)
    return "".join(parts)


def code(value: object) -> str:
    """Show a value as code."""
    return f"<code>{escape(str(value), quote=False)}</code>"


def block(content: str) -> str:
    """Show lines of code."""
    # A region that scrolls must be reachable by the keyboard.
    return f'<pre tabindex="0"><code>{escape(content, quote=False)}</code></pre>'


def indented(value: object) -> str:
    """Write JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table of cells that are HTML; nothing when there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return ""
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def kind(schema: Node) -> str:
    """Say in a few words what fits a schema, with links to what has a name."""
    said = "any JSON"
    match schema:
        case {"$ref": str() as reference}:
            name = escape(reference.removeprefix(REFERENCE))
            said = f'<a href="#schema-{name}">{name}</a>'
        case {"const": value}:
            said = code(msgspec.json.encode(value).decode())
        case {"enum": [*values]}:
            said = " or ".join(code(value) for value in values)
        case {"anyOf": [*options]} | {"oneOf": [*options]}:
            said = " or ".join(dict.fromkeys(kind(option) for option in options))
        case {"type": "array", "items": items}:
            said = f"array of {kind(items)}"
        case {"type": "object", "additionalProperties": dict()} if "properties" not in schema:
            said = f"object of {kind(schema['additionalProperties'])}"
        case {"properties": {"data": {"contentSchema": data}}}:
            said = f"server-sent events of {kind(data)}"
        case {"type": [*kinds]}:
            said = " or ".join(_named(str(plain), schema) for plain in kinds)
        case {"type": str() as plain}:
            said = _named(plain, schema)
        case _:
            pass
    return said


def curl(method: str, path: str, operation: Node) -> str:
    """Write a call that works when pasted, with URL, KEY and what the path names in variables."""
    query = "&".join(
        f"{each['name']}={_SAMPLES.get(each['schema'].get('format', ''), '…')}"
        for each in operation.get("parameters", ())
        if each["in"] == "query" and each["required"]
    )
    target = _IN_PATH.sub(lambda match: f"${match[1].upper()}", path) + (query and "?" + query)
    lines = [f'curl{"" if method == "GET" else f" -X {method}"} "$URL{target}"']
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $KEY"')
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        if examples := list(content.get("examples", {}).values()):
            body = shlex.quote(indented(examples[0]["value"]))
            lines += [f"-H 'Content-Type: {media}'", f"-d {body}"]
            break
    return " \\\n  ".join(lines)


def fields(schema: Node) -> str:
    """Make a table of an object's fields."""
    required = schema.get("required", ())
    rows = (
        (
            code(name) + (' <span class="must">required</span>' if name in required else ""),
            kind(inner),
            notes(inner),
        )
        for name, inner in schema.get("properties", {}).items()
    )
    return table(("Field", "Type", ""), rows)


def notes(schema: Node) -> str:
    """Say what else is known of a value: its meaning, bounds and default."""
    said = [inline(schema["description"])] if "description" in schema else []
    if limits := ", ".join(_limits(schema)):
        said.append(f"<small>{limits}</small>")
    return " ".join(said)


def _named(plain: str, schema: Node) -> str:
    form = schema.get("format") if plain == "string" else None
    return f"{plain} <small>({form})</small>" if form else plain


def _limits(schema: Node) -> Iterator[str]:
    yield from _range(schema.get("minLength"), schema.get("maxLength"), "characters")
    yield from _range(schema.get("minItems"), schema.get("maxItems"), "items")
    yield from _range(schema.get("minimum"), schema.get("maximum"), "")
    if "exclusiveMinimum" in schema:
        yield f"above {_number(schema['exclusiveMinimum'])}"
    if "pattern" in schema and len(schema["pattern"]) <= _MAX_PATTERN:
        yield code(schema["pattern"])
    if schema.get("default") is not None:
        yield f"default {code(msgspec.json.encode(schema['default']).decode())}"


def _range(least: Any, most: Any, unit: str) -> Iterator[str]:
    if least is not None and most is not None:
        yield f"{_number(least)} to {_number(most)} {unit}".strip()
    elif least is not None:
        yield f"at least {_number(least)} {unit if least > 1 else unit[:-1]}".strip()
    elif most is not None:
        yield f"up to {_number(most)} {unit}".strip()


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or not value.is_integer() else f"{int(value):,}"
