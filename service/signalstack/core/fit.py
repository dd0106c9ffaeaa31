"""Fitting decoded JSON into typed structs, with a JSON Pointer for what does not fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signalstack.core.document import pointer_to
from signalstack.core.errors import Fault, InvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHERE: Final = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?")
_NAMED: Final = re.compile(
    r"(?s)Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`"
)
_STEP: Final = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def fit(value: object, into: Any, at: str = "") -> Any:
    """Convert a decoded value into a type; `at` is the value's pointer within the body.

    A struct's own check points at a field by beginning its ValueError with the field's name and a
    colon.

    Raises:
        InvalidError: it does not fit; points at the first fault.
    """
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError as error:
        fault = explain(error, at)
        name, _, detail = fault.detail.partition(": ")
        if detail and fault.pointer == at and name in _fields(into):
            fault = Fault(pointer=at + pointer_to(name), detail=detail)
        raise InvalidError.at(fault.pointer, fault.detail) from None


def explain(error: msgspec.ValidationError, at: str = "") -> Fault:
    """Turn msgspec's message ("… - at `$.a[0]`") into a fault with a JSON Pointer ("/a/0")."""
    match = _WHERE.fullmatch(str(error))
    what, path = (match["what"], match["path"]) if match else (str(error), None)
    pointer = at + _pointer(path or "$")
    if named := _NAMED.fullmatch(what):
        unknown = named["how"] == "contains unknown"
        detail = "unknown field" if unknown else "required field is missing"
        return Fault(pointer=pointer + pointer_to(named["name"]), detail=detail)
    return Fault(pointer=pointer, detail=what)


def _fields(into: object) -> Sequence[str]:
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(into)]
    return ()


def _pointer(path: str) -> str:
    steps: list[str] = []
    for match in _STEP.finditer(path):
        step = match["field"] or match["index"]
        if step == "...":  # some member of a map: msgspec does not say which, so point at the map
            break
        steps.append(step)
    return pointer_to(*steps)
