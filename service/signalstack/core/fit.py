"""Fitting decoded JSON into typed structs, with a JSON Pointer for what does not fit."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from signalstack.core.document import pointer_to
from signalstack.core.errors import Fault, InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WHERE: Final = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?")
_NAMED: Final = re.compile(
    r"(?s)Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`"
)
_NO_MEMBER: Final = "Invalid enum value "
_NO_MATCH: Final = "Expected `str` matching regex "
_PARTED: Final = (Union, UnionType, Annotated)
_STEP: Final = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def fit(value: object, into: Any, at: str = "") -> Any:
    """Convert a decoded value into a type; `at` is the value's pointer within the body.

    A struct's own check points at a field by beginning its ValueError with the field's name and a
    colon.

    Raises:
        InvalidError: it does not fit; points at the first fault.
    """
    try:
        return _convert(value, into)
    except msgspec.ValidationError as error:
        fault = explain(error, into, at)
        name, _, detail = fault.detail.partition(": ")
        if detail and fault.pointer == at and name in _fields(into):
            fault = Fault(pointer=at + pointer_to(name), detail=detail)
        raise InvalidError.at(fault.pointer, fault.detail) from None


def _convert(value: object, into: Any) -> Any:
    """Do what `msgspec.convert` does, which reads any type but a struct anew each time: 6 µs.

    What that refuses is read as a worker reads it: only from JSON are keys numbers, and there is
    `msgspec.Raw`.
    """
    try:
        if _is_struct(into):
            return msgspec.convert(value, into)
        return msgspec.convert({"value": value}, _box(into)).value
    except msgspec.ValidationError:
        return msgspec.json.decode(msgspec.json.encode(value), type=into)


def _is_struct(into: Any) -> bool:
    return isinstance(into, type) and issubclass(into, msgspec.Struct)


@lru_cache
def _box(of: Any) -> Any:
    """Make a struct around a type."""
    return msgspec.defstruct("Box", [("value", of)])


def explain(error: msgspec.ValidationError, into: object, at: str = "") -> Fault:
    """Turn msgspec's message ("… - at `$.a[0]`") into a fault with a JSON Pointer ("/a/0").

    `into` is the type that was not met: of an enumeration the message says what it takes, and of
    a pattern the sentence that stands beside it (`Meta(pattern=…, extra={"says": …})`).
    """
    match = _WHERE.fullmatch(str(error))
    what, path = (match["what"], match["path"]) if match else (str(error), None)
    steps = _steps(path or "$")
    pointer = at + pointer_to(*steps)
    if what.startswith(_NO_MEMBER) and (members := _members(into, steps)):
        what = f"{what[len(_NO_MEMBER) :]} is none of {', '.join(members)}"
    if what.startswith(_NO_MATCH):
        what = _sentence(into, steps, what[len(_NO_MATCH) :]) or what
    if named := _NAMED.fullmatch(what):
        unknown = named["how"] == "contains unknown"
        detail = "unknown field" if unknown else "required field is missing"
        return Fault(pointer=pointer + pointer_to(named["name"]), detail=detail)
    return Fault(pointer=pointer, detail=what)


def _fields(into: object) -> Sequence[str]:
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(into)]
    return ()


def _members(kind: object, path: Sequence[str]) -> list[str]:
    """List what the enumeration at a path takes; nothing where there is none."""
    for each in _at(kind, path):
        if isinstance(each, type) and issubclass(each, Enum):
            return [str(member.value) for member in each]
        if get_origin(each) is Literal:
            return [str(value) for value in get_args(each)]
    return []


def _sentence(kind: object, path: Sequence[str], pattern: str) -> str | None:
    """Find what the annotation with a pattern, as `repr` shows it, says in words."""
    for each in _at(kind, path):
        if isinstance(each, msgspec.Meta) and repr(each.pattern) == pattern and each.extra:
            return each.extra.get("says")
    return None


def _at(kind: object, path: Sequence[str]) -> Iterator[object]:
    """Yield the types that may stand at a path within a type, and what they are annotated with."""
    for each in _parts(kind):
        if not path:
            yield each
        elif isinstance(each, type) and issubclass(each, msgspec.Struct):
            types = {field.encode_name: field.type for field in msgspec.structs.fields(each)}
            yield from _at(types.get(path[0]), path[1:])
        else:
            for inner in get_args(each):
                yield from _at(inner, path[1:])


def _parts(kind: object) -> Iterator[object]:
    if get_origin(kind) in _PARTED:
        for each in get_args(kind):
            yield from _parts(each)
    else:
        yield kind


def _steps(path: str) -> list[str]:
    steps: list[str] = []
    for match in _STEP.finditer(path):
        step = match["field"] or match["index"]
        if step == "...":  # some member of a map: msgspec does not say which, so point at the map
            break
        steps.append(step)
    return steps
