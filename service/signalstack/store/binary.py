"""PostgreSQL's binary formats for the few types that the dispatch path sends and reads.

Formats: a value is big-endian; an array is (dimensions, has-null, element oid, length, lower
bound) and then each element behind its length, -1 for NULL (`array_send` in PostgreSQL). Building
arrays by hand costs a fifth of what general adaptation does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from psycopg import adapt, pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg.abc import Transformer
    from psycopg.pq.abc import PGresult

_HEADER: Final = Struct("!5i")
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTH: Final = Struct("!i")
_INT2: Final = Struct("!ih")
_INT4: Final = Struct("!ii")
_INT8: Final = Struct("!iq")
_FLOAT8: Final = Struct("!id")
_JSONB: Final = Struct("!iB")
_UUID_LENGTH: Final = _LENGTH.pack(16)
_TID_LENGTH: Final = _LENGTH.pack(6)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POSTGRES_EPOCH_S: Final = 946_684_800

_OID_BYTEA, _OID_INT8, _OID_INT2, _OID_INT4, _OID_TEXT, _OID_TID = 17, 20, 21, 23, 25, 27
_OID_FLOAT8, _OID_TIMESTAMPTZ, _OID_UUID, _OID_JSONB = 701, 1184, 2950, 3802

pack_bool = Struct("!?").pack
pack_int2 = Struct("!h").pack
pack_int4 = Struct("!i").pack
pack_int8 = Struct("!q").pack
pack_float8 = Struct("!d").pack
_unpack_float8 = Struct("!d").unpack


def pack_jsonb(value: bytes) -> bytes:
    """Encode `jsonb` from JSON text."""
    return b"\x01" + value


def pack_timestamptz(value: datetime) -> bytes:
    """Encode `timestamptz` from an aware datetime."""
    return pack_int8((value - _EPOCH) // _MICROSECOND)


def pack_unix(value: float) -> bytes:
    """Encode `timestamptz` from Unix seconds."""
    return pack_int8(round((value - _POSTGRES_EPOCH_S) * 1e6))


def _array(oid: int, parts: Sequence[bytes]) -> bytes:
    return _header(oid, len(parts)) + b"".join(parts)


def _header(oid: int, count: int) -> bytes:
    return _HEADER.pack(1, 1, oid, count, 1)


def uuid_array(values: Sequence[bytes | None]) -> bytes:
    """Encode `uuid[]` from 16-byte strings."""
    if None in values or not values:
        return _array(_OID_UUID, [_NULL if v is None else _UUID_LENGTH + v for v in values])
    return _array_of_equals(_OID_UUID, _UUID_LENGTH, cast("Sequence[bytes]", values))


def tid_array(values: Sequence[bytes]) -> bytes:
    """Encode `tid[]` from 6-byte strings, one at least."""
    return _array_of_equals(_OID_TID, _TID_LENGTH, values)


def _array_of_equals(oid: int, length: bytes, values: Sequence[bytes]) -> bytes:
    """Put each value behind the length that all have, by one step for all of them."""
    return _header(oid, len(values)) + length + length.join(values)


def text_array(values: Sequence[str | None]) -> bytes:
    """Encode `text[]`; elements that are all alike, as queues and types often are, once for all."""
    if len(values) > 1 and values.count(values[0]) == len(values):
        return _header(_OID_TEXT, len(values)) + b"".join(_texts(values[:1])) * len(values)
    return _array(_OID_TEXT, _texts(values))


def _texts(values: Sequence[str | None]) -> list[bytes]:
    pack = _LENGTH.pack
    encoded = [None if v is None else v.encode() for v in values]
    return [_NULL if v is None else pack(len(v)) + v for v in encoded]


def bytea_array(values: Iterable[bytes | None]) -> bytes:
    """Encode `bytea[]`."""
    pack = _LENGTH.pack
    return _array(_OID_BYTEA, [_NULL if v is None else pack(len(v)) + v for v in values])


def jsonb_array(values: Iterable[bytes | None]) -> bytes:
    """Encode `jsonb[]` from JSON text."""
    pack = _JSONB.pack
    return _array(_OID_JSONB, [_NULL if v is None else pack(len(v) + 1, 1) + v for v in values])


def int2_array(values: Iterable[int]) -> bytes:
    """Encode `smallint[]`."""
    return _array(_OID_INT2, [_INT2.pack(2, v) for v in values])


def int4_array(values: Iterable[int]) -> bytes:
    """Encode `integer[]`."""
    return _array(_OID_INT4, [_INT4.pack(4, v) for v in values])


def int8_array(values: Iterable[int | None]) -> bytes:
    """Encode `bigint[]`."""
    return _array(_OID_INT8, [_NULL if v is None else _INT8.pack(8, v) for v in values])


def float8_array(values: Iterable[float | None]) -> bytes:
    """Encode `double precision[]`."""
    return _array(_OID_FLOAT8, [_NULL if v is None else _FLOAT8.pack(8, v) for v in values])


def timestamptz_array(values: Iterable[datetime | None]) -> bytes:
    """Encode `timestamptz[]` from aware datetimes."""
    return _array(
        _OID_TIMESTAMPTZ,
        [_NULL if v is None else _INT8.pack(8, (v - _EPOCH) // _MICROSECOND) for v in values],
    )


def timestamptz_array_from_unix(values: Iterable[float | None]) -> bytes:
    """Encode `timestamptz[]` from Unix times in seconds."""
    return _array(
        _OID_TIMESTAMPTZ,
        [
            _NULL if v is None else _INT8.pack(8, round((v - _POSTGRES_EPOCH_S) * 1e6))
            for v in values
        ],
    )


def _make_transformer() -> Transformer:
    adapters = adapt.AdaptersMap(psycopg.adapters)
    loader = {
        name: adapters.get_loader(psycopg.adapters.types[name].oid, pq.Format.BINARY)
        for name in ("int8", "bytea")
    }
    for type_, alike in (("timestamptz", "int8"), ("varchar", "bytea"), ("uuid", "bytea")):
        if (found := loader[alike]) is not None:
            adapters.register_loader(type_, found)
    return adapt.Transformer.from_context(adapters)


_transformer: Final = _make_transformer()


def read_rows(result: PGresult) -> list[tuple[Any, ...]]:
    """Decode all rows at once, in C: a tenth of the cost of asking for each value.

    As psycopg has the types, save that `timestamptz` gives PostgreSQL's own microseconds (see
    `unix`), `uuid` gives its 16 bytes, and `varchar` gives bytes, for long text that is to be
    decoded by somebody else.
    """
    _transformer.set_pgresult(result, format=pq.Format.BINARY)
    rows: list[tuple[Any, ...]] = _transformer.load_rows(0, result.ntuples, tuple)
    _transformer.set_pgresult(None)
    return rows


def unix(microseconds: int) -> float:
    """Convert PostgreSQL's microseconds into Unix seconds."""
    return microseconds / 1e6 + _POSTGRES_EPOCH_S


def read_int4(data: bytes) -> int:
    """Decode `integer`."""
    return int.from_bytes(data, "big", signed=True)


def read_int8(data: bytes) -> int:
    """Decode `bigint`."""
    return int.from_bytes(data, "big", signed=True)


def read_float8(data: bytes) -> float:
    """Decode `double precision`."""
    value: float = _unpack_float8(data)[0]
    return value


def read_unix(data: bytes) -> float:
    """Decode `timestamptz` into Unix seconds."""
    return unix(int.from_bytes(data, "big", signed=True))


def read_timestamptz(data: bytes) -> datetime:
    """Decode `timestamptz` into an aware datetime, the nearest where Python has none.

    PostgreSQL knows infinity, BC and the years after 9999: one such row, whoever wrote it, must not
    keep a list from being read.
    """
    microseconds = int.from_bytes(data, "big", signed=True)
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _LATEST if microseconds > 0 else _EARLIEST


def read_uuid_array(data: bytes | None) -> list[bytes]:
    """Decode `uuid[]` into 16-byte strings; NULL and the empty array are both empty."""
    if data is None:
        return []
    start = 20  # header
    return [data[at + 4 : at + 20] for at in range(start, len(data), 20)]
