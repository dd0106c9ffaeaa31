"""Between bytes and structs: strict decoding with a pointer for each fault, and encoding."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from signalstack.core import document
from signalstack.core.errors import Fault, InvalidError, MalformedError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_ENCODER: Final = msgspec.json.Encoder()
_WHERE: Final = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?")
_NAMED: Final = re.compile(
    r"(?s)Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`"
)
_STEP: Final = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def decode(body: bytes, into: type[T]) -> T:
    """Decode a JSON body into a struct.

    Raises MalformedError when it is no acceptable JSON, InvalidError when it does not fit.
    """
    if not body:
        raise MalformedError("the body is empty; a JSON document is expected")
    return convert(document.decode(body), into)


def convert(value: object, into: type[T], at: str = "") -> T:
    """Fit a decoded value into a type; `at` is the pointer of the value within the body.

    Raises InvalidError with the pointer of the first fault.
    """
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError as error:
        fault = explain(error, at)
        raise InvalidError.at(fault.pointer, fault.detail) from None


def explain(error: msgspec.ValidationError, at: str = "") -> Fault:
    """Turn msgspec's message ("… - at `$.a[0]`") into a fault with a JSON Pointer ("/a/0")."""
    match = _WHERE.fullmatch(str(error))
    what, path = (match["what"], match["path"]) if match else (str(error), None)
    pointer = at + _pointer(path or "$")
    if named := _NAMED.fullmatch(what):
        unknown = named["how"] == "contains unknown"
        detail = "unknown field" if unknown else "required field is missing"
        return Fault(pointer=pointer + document.pointer_to(named["name"]), detail=detail)
    return Fault(pointer=pointer, detail=what)


def read_query(raw: bytes, into: type[T] | None) -> T:
    """Decode a query string into a struct; unknown, repeated or broken parameters are malformed.

    With `into` None no parameter is taken, and None is returned.
    """
    given = _parameters(raw)
    if into is None:
        for name in given:
            raise MalformedError(f"unknown query parameter {name[:64]!r}; none is taken here")
        return cast("T", None)
    known = msgspec.structs.fields(cast("type[msgspec.Struct]", into))
    names = {field.encode_name for field in known}
    for name in given:
        if name not in names:
            raise MalformedError(
                f"unknown query parameter {name[:64]!r}; known are {', '.join(sorted(names))}"
            )
    try:
        return msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        fault = explain(error)
        raise MalformedError(f"query parameter {fault.pointer[1:]}: {fault.detail}") from None


def identify(text: str) -> UUID:
    """Read an id of a path; what is no UUID names nothing (NotFoundError), like any unknown one."""
    if not _UUID.fullmatch(text):
        raise NotFoundError("nothing has this id")
    return UUID(text)


def encode(answer: object) -> bytes:
    """Encode an answer as JSON: times in RFC 3339, ids in lower case."""
    return _ENCODER.encode(answer)


def canonical(value: object) -> bytes:
    """Encode a value so that equal ones have equal bytes, whatever the order of their members."""
    return msgspec.json.encode(value, order="sorted")


def _parameters(raw: bytes) -> Mapping[str, str]:
    if not raw:
        return {}
    try:
        pairs: list[tuple[Any, Any]] = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except ValueError:
        raise MalformedError("the query string is not name=value pairs in UTF-8") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise MalformedError(f"query parameter {name[:64]!r} is given more than once")
        if "\x00" in value:
            raise MalformedError(f"query parameter {name[:64]!r} holds a NUL character")
        given[name] = value
    return given


def _pointer(path: str) -> str:
    steps: list[str] = []
    for match in _STEP.finditer(path):
        step = match["field"] or match["index"]
        if step == "...":  # some member of a map: msgspec does not say which, so point at the map
            break
        steps.append(step)
    return document.pointer_to(*steps)
