"""Between bytes and structs: strict decoding with a pointer for each fault, and encoding."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from signalstack.core import document
from signalstack.core.errors import InvalidError, MalformedError, NotFoundError
from signalstack.core.fit import explain, fit

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_ENCODER: Final = msgspec.json.Encoder()
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
# The + of a time's offset, or of a phone number.
_SPACE_FOR_PLUS: Final = re.compile(r".+:[0-9]{2}(\.[0-9]+)? [0-9]{2}:?[0-9]{2}| [1-9][0-9]{7,14}")


def decode(body: bytes, into: type[T]) -> T:
    """Decode a JSON body into a struct.

    Raises MalformedError when it is no acceptable JSON, InvalidError when it does not fit.
    """
    if not body:
        raise MalformedError("the body is empty; a JSON document is expected")
    return cast("T", fit(document.decode(body), into))


def read_query(raw: bytes, into: type[T] | None) -> T:
    """Decode a query string into a struct; unknown, repeated or broken parameters are malformed.

    With `into` None no parameter is taken, and None is returned.
    """
    given = _parameters(raw)
    if into is None:
        for name in given:
            raise MalformedError(f"unknown query parameter {name[:64]!r}; none is taken here")
        return cast("T", None)
    names = cast("type[msgspec.Struct]", into).__struct_encode_fields__
    for name in given:
        if name not in names:
            raise MalformedError(
                f"unknown query parameter {name[:64]!r}; known are {', '.join(names)}"
            )
    try:
        found = msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        fault = explain(error, into)
        name = fault.pointer[1:]
        lost = _SPACE_FOR_PLUS.fullmatch(given.get(name, ""))
        hint = "; a + in a query is a space: write it as %2B" if lost else ""
        raise MalformedError(f"query parameter {name}: {fault.detail}{hint}") from None
    _refuse_loose(given, cast("msgspec.Struct", found))
    return found


def identify(text: str) -> UUID:
    """Read an id of a path; what is no UUID names nothing (NotFoundError), like any unknown one."""
    if not _UUID.fullmatch(text):
        raise NotFoundError("nothing has this id")
    return UUID(text)


def in_utc(moment: datetime | None, pointer: str) -> datetime | None:
    """Express a time in UTC; InvalidError when that is before the year 1 or after 9999.

    PostgreSQL would keep the year 10000, and Python could never read that row again.
    """
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        raise InvalidError.at(pointer, "must lie between the years 1 and 9999 in UTC") from None


def encode(answer: object) -> bytes:
    """Encode an answer as JSON: times in RFC 3339, ids in lower case."""
    return _ENCODER.encode(answer)


def canonical(value: object) -> bytes:
    """Encode a value so that equal ones have equal bytes, whatever the order of their members."""
    return msgspec.json.encode(value, order="sorted")


def _refuse_loose(given: Mapping[str, str], found: msgspec.Struct) -> None:
    """Refuse what reading numbers from text brings with it: the word null, and times as numbers."""
    for name, field in zip(found.__struct_encode_fields__, found.__struct_fields__, strict=True):
        match getattr(found, field):
            case None if name in given:
                raise MalformedError(f"query parameter {name}: leave it out instead of giving null")
            case bool() if given.get(name, "true") not in ("true", "false"):
                raise MalformedError(f"query parameter {name}: must be true or false")
            case bool():
                pass
            case int() if not _INTEGER.fullmatch(given.get(name, "0")):
                raise MalformedError(f"query parameter {name}: must be written in digits alone")
            case datetime() if ":" not in given.get(name, ":"):
                raise MalformedError(f"query parameter {name}: must be a time by RFC 3339")
            case datetime() as moment:
                _in_query(moment, name)
            case _:
                pass


def _in_query(moment: datetime, name: str) -> None:
    try:
        in_utc(moment, name)
    except InvalidError as error:
        raise MalformedError(f"query parameter {error}") from None


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
