"""JSON documents at the edge: what is read, what PostgreSQL can keep, and the one form we write.

`decode` refuses whatever `jsonb` would refuse, alter or choke on later, and whatever two parsers
would read differently (RFC 8259, sections 4, 6 and 8; RFC 7493). Numbers with a fraction or an
exponent are IEEE 754 doubles: digits beyond that are rounded, as nearly every JSON reader does.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from math import log10
from typing import Final, NoReturn, TypeAlias, cast

import msgspec

from signalstack.core.errors import Fault, InvalidError, MalformedError
from signalstack.core.repetition import find_repeated, shown

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH: Final = 64
MAX_INTEGER: Final = 2**63 - 1
MIN_INTEGER: Final = -(2**63)

# PostgreSQL writes doubles out: 1e308 has 309 digits. So many more than were sent there may be,
# beside four times the document's size; otherwise 256 KiB would become 13 MB in every answer.
MAX_DIGITS: Final = 65_536

_INFINITY: Final = float("inf")
_BOM: Final = b"\xef\xbb\xbf"
# A 64-bit integer has at most 19 digits and a sign; what is longer need not be computed.
_INTEGER_CHARS: Final = 20
_ZEROES: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * 19
_EXPONENT: Final = re.compile(rb"[0-9][eE][+-]?0*([0-9]{1,3})")
_EXACT_BELOW: Final = 1e16
_EXACT_ABOVE: Final = 1e-5
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

_decoder: Final = msgspec.json.Decoder()
# Sorted keys: two bodies that say the same have the same bytes, which idempotency compares.
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def decode(data: bytes) -> Json:
    """Read one JSON document strictly.

    Raises:
        MalformedError: not JSON, not UTF-8, a byte order mark, or a key that occurs twice.
        InvalidError: JSON, but nothing that can be stored; points at the first offender.
    """
    try:
        value: Json = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(data, str(error))
    depth, members = _shape(value)
    if depth > MAX_DEPTH or _is_doubtful(data):
        _soundness(value)
    # A repeated key is swallowed by the decoder: fewer members were kept than were written.
    if members != _colons_at_most(data) and members != _STRING.sub(b"", data).count(b":"):
        _refuse_repetition(data)
    if sum(int(match[1]) for match in _EXPONENT.finditer(data)) > MAX_DIGITS:
        _check_digits(value, len(data))
    return value


def check(value: object, pointer: str = "") -> None:
    """Raise InvalidError unless the value is JSON that `decode` would also have let in.

    Args:
        value: what code of ours or of a user made, rather than what a parser read.
        pointer: where the value stands; the error's pointer begins with it.
    """
    _soundness(value, pointer)
    sound = cast("Json", value)
    _check_digits(sound, len(canonical(sound)), pointer)


def canonical(value: Json) -> bytes:
    """Write a value that came from `decode` or passed `check`: compact UTF-8 with sorted keys."""
    return _encoder.encode(value)


def restore(value: Json) -> Json:
    """Undo what `jsonb` does to large doubles: it gives 1e23 back as an integer of 24 digits.

    Those within 64 bits stay integers with the digits that were sent; read as doubles, they are the
    same. `-0.0` comes back as 0.0.
    """
    if isinstance(value, dict):
        return {key: restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore(item) for item in value]
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        return float(value)
    return value


def pointer_to(*path: str | int) -> str:
    """Join keys and indexes into a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


class _UnfitError(Exception):
    """Travels up from the offender, collecting the way to it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.path: list[str] = []


def _shape(value: Json) -> tuple[int, int]:
    """Measure how deep a document nests and how many members its objects have, level by level."""
    depth = members = 0
    level = [value]
    while containers := [item for item in level if type(item) is dict or type(item) is list]:
        depth += 1
        below: list[Json] = []
        for container in containers:
            if type(container) is dict:
                members += len(container)
                below.extend(container.values())
            else:
                below.extend(container)
        level = below
    return depth, members


def _is_doubtful(data: bytes) -> bool:
    """Tell cheaply whether decoded bytes may hold U+0000 or an integer beyond 64 bits.

    U+0000 can only come from an escape, and shorter integers fit; the decoder refuses the rest.
    """
    return b"\\u" in data or _LONG_NUMBER in data.translate(_ZEROES)


def _colons_at_most(data: bytes) -> int:
    """Count colons that may stand after a key: never too few, and seldom any inside a string."""
    return (
        data.count(b'":')
        + data.count(b" :")
        + data.count(b"\n:")
        + data.count(b"\r:")
        + data.count(b"\t:")
    )


def _soundness(value: object, pointer: str = "") -> None:
    """Raise InvalidError at the first thing that cannot be stored."""
    try:
        _visit(value, 0)
    except _UnfitError as error:
        where = pointer + pointer_to(*reversed(error.path))
        raise InvalidError.at(where, str(error)) from None


def _visit(value: object, depth: int) -> None:
    match value:
        case str():
            _check_text(value)
        case bool() | None:
            pass
        case int():
            if not MIN_INTEGER <= value <= MAX_INTEGER:
                raise _UnfitError("integers must fit into 64 bits")
        case float():
            if not -_INFINITY < value < _INFINITY:
                raise _UnfitError("numbers must be finite doubles")
        case dict() | list():
            if depth == MAX_DEPTH:
                raise _UnfitError(f"arrays and objects may nest {MAX_DEPTH} deep")
            _visit_children(cast("dict[object, object] | list[object]", value), depth + 1)
        case _:
            raise _UnfitError(f"{type(value).__name__} is no JSON type")


def _visit_children(container: dict[object, object] | list[object], depth: int) -> None:
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, item in items:
        try:
            if isinstance(container, dict):
                _check_key(key)
            _visit(item, depth)
        except _UnfitError as error:
            # The offender may be the key itself, and pointers are shown to callers.
            error.path.append(str(key).encode(errors="replace").decode())
            raise


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise _UnfitError("keys must be strings")
    _check_text(key)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise _UnfitError("strings must not contain U+0000")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _UnfitError("strings must not contain lone surrogates") from None


def _check_digits(value: Json, size: int, pointer: str = "") -> None:
    digits = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) and item and not _EXACT_ABOVE < abs(item) < _EXACT_BELOW:
            digits += int(abs(log10(abs(item))))
    if digits > MAX_DIGITS + 4 * size:
        detail = f"its numbers have {digits:,} more digits when written out; that is too much"
        raise InvalidError.at(pointer, detail)


def _refuse_repetition(data: bytes) -> NoReturn:
    path = find_repeated(data)
    detail = f"the key {shown(path[-1])} occurs twice in one object"
    fault = Fault(pointer=pointer_to(*path), detail=detail)
    raise MalformedError(f"JSON is malformed: {detail}", fault)


def _refuse(data: bytes, reason: str) -> NoReturn:
    """Say whether what could not be decoded is no JSON, or JSON that cannot be stored."""
    if data.startswith(_BOM):
        raise MalformedError("JSON must not begin with a byte order mark")
    try:
        # More lenient than ours: it reads lone surrogates, and 1e400 as infinity.
        with suppress(ValueError):
            _soundness(
                json.loads(data.decode(), parse_int=_read_integer, parse_constant=_refuse_constant)
            )
    except RecursionError:
        raise InvalidError.at("", f"arrays and objects may nest {MAX_DEPTH} deep") from None
    raise MalformedError(reason if reason.startswith("JSON") else f"JSON is malformed: {reason}")


def _read_integer(digits: str) -> int:
    return int(digits) if len(digits) <= _INTEGER_CHARS else MAX_INTEGER + 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
