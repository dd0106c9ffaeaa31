"""What the service says, in words, to a text that does not match a pattern of its own types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from msgspec import inspect as types

from boarding import ON_BOARD
from signalstack.api import codec
from signalstack.api.app import OPERATIONS
from signalstack.api.events import EventQuery, EventRequest
from signalstack.api.operation import JSON
from signalstack.core.endpoint_config import EndpointRequest
from signalstack.core.errors import InvalidError, MalformedError
from signalstack.core.fit import explain
from signalstack.core.job import JobRequest
from signalstack.core.message import MessageRequest, payload_type
from signalstack.core.schedule import ScheduleChange
from signalstack.core.subscription import SubscriptionChange
from signalstack.handlers.email import SendEmail
from signalstack.handlers.file import ProcessFile
from signalstack.handlers.payment import ProcessPayment

if TYPE_CHECKING:
    from collections.abc import Iterator

# CloudEvents in JSON are read by rules of their own, and their type by the description alone.
_READ: Final = {
    *(operation.body for operation in OPERATIONS if not operation.shapes),
    *(operation.query for operation in OPERATIONS),
    *(operation.shapes.get(JSON) for operation in OPERATIONS),
    *(job_type.payload for job_type in ON_BOARD),
}
_TYPE: Final = "must be a type such as order.paid, without spaces, * or control characters"
_LINE: Final = "must not contain line feeds or other control characters"
_NUMBER: Final = "must be a phone number in E.164, such as +905551111111"
_MAIL: Final = "must be like ada@example.com or Ada Lovelace <ada@example.com>"
_EMAIL: Final = {"to": "ada@example.com", "subject": "Hi", "text": "Hi"}
_PAYMENT: Final = {"amount": 1, "currency": "EUR", "customer": "c", "reference": "r"}


def _patterns(kind: types.Type, path: str) -> Iterator[tuple[str, str]]:
    """Find all patterns within a type, each with where msgspec says that it is."""
    match kind:
        case types.StrType(pattern=str() as pattern):
            yield path, pattern
        case types.Metadata(type=inner):
            yield from _patterns(inner, path)
        case types.UnionType(types=members):
            for member in members:
                yield from _patterns(member, path)
        case types.StructType(fields=fields):
            for field in fields:
                yield from _patterns(field.type, f"{path}.{field.encode_name}")
        case types.CollectionType(item_type=item):
            yield from _patterns(item, f"{path}[0]")
        case types.DictType(key_type=key, value_type=value):
            yield from _patterns(key, f"{path}[...]")
            yield from _patterns(value, f"{path}[...]")
        case _:
            pass


_PATTERNS: Final = [
    pytest.param(kind, path, pattern, id=f"{getattr(kind, '__name__', kind)} {path}")
    for kind in sorted(_READ, key=str)
    for path, pattern in _patterns(types.type_info(kind), "$")
]


def test_patterns_are_found_in_bodies_queries_and_payloads() -> None:
    found = {param.values[:2] for param in _PATTERNS}

    assert (EventRequest, "$.type") in found
    assert (EventQuery, "$.type") in found
    assert (SendEmail, "$.cc[0]") in found


@pytest.mark.parametrize(("kind", "path", "pattern"), _PATTERNS)
def test_every_pattern_has_its_sentence(kind: Any, path: str, pattern: str) -> None:
    error = msgspec.ValidationError(f"Expected `str` matching regex {pattern!r} - at `{path}`")

    assert explain(error, kind).detail.startswith("must ")


@pytest.mark.parametrize(
    ("kind", "value", "pointer", "detail"),
    [
        (MessageRequest, {"phone_number": "0555", "content": "x"}, "/phone_number", _NUMBER),
        (payload_type(160), {"phone_number": "+0", "content": "x"}, "/phone_number", _NUMBER),
        (EventRequest, {"type": "a.*"}, "/type", _TYPE),
        (EventRequest, {"type": "a b"}, "/type", _TYPE),
        (EventRequest, {"type": "a", "subject": "a\n"}, "/subject", _LINE),
        (EndpointRequest, {"name": "a\n", "url": "https://a.example"}, "/name", _LINE),
        (SubscriptionChange, {"name": "a\nb"}, "/name", _LINE),
        (ScheduleChange, {"name": "a\x1f"}, "/name", _LINE),
        (
            JobRequest,
            {"type": "noop", "idempotency_key": "a b"},
            "/idempotency_key",
            "must be visible ASCII characters, without spaces",
        ),
        (ProcessPayment, {**_PAYMENT, "customer": "a\n"}, "/customer", _LINE),
        (
            ProcessPayment,
            {**_PAYMENT, "currency": "eur"},
            "/currency",
            "must be three capital letters, such as EUR",
        ),
        (
            SendEmail,
            {**_EMAIL, "subject": "a\nb"},
            "/subject",
            "must be one line, without control characters",
        ),
        (SendEmail, {**_EMAIL, "reply_to": "ada"}, "/reply_to", _MAIL),
        (SendEmail, {**_EMAIL, "cc": ["a@example.com", "ada"]}, "/cc/1", _MAIL),
        (
            ProcessFile,
            {"url": "https://a.example", "sha256": "abc"},
            "/sha256",
            "must be a SHA-256 in hex: 64 of the digits 0 to 9 and a to f",
        ),
    ],
)
def test_body_that_does_not_match_is_told_what_would_be_right(
    kind: Any, value: object, pointer: str, detail: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        codec.decode(msgspec.json.encode(value), kind)

    (fault,) = caught.value.faults
    assert (fault.pointer, fault.detail) == (pointer, detail)


def test_query_that_does_not_match_is_told_what_would_be_right() -> None:
    with pytest.raises(MalformedError) as caught:
        codec.read_query(b"type=order.*", EventQuery)

    assert str(caught.value) == f"query parameter type: {_TYPE}"
