"""Strict decoding of bodies, queries and ids, with a pointer for each fault."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from signalstack.api import codec
from signalstack.api.messages import SentQuery
from signalstack.core.errors import InvalidError, MalformedError, NotFoundError
from signalstack.core.job import JobRequest


class Nested(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    jobs: list[JobRequest] = []
    headers: dict[str, str] = {}


class Filter(msgspec.Struct, kw_only=True):
    limit: int = 50
    type: str | None = None
    until: datetime | None = None


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b"[]", "", "Expected `object`, got `array`"),
        (b'{"x": 1}', "/x", "unknown field"),
        (b'{"jobs": 5}', "/jobs", "Expected `array`, got `int`"),
        (b'{"jobs": [{}]}', "/jobs/0/type", "required field is missing"),
        (b'{"jobs": [{"type": "a"}, {"type": "a", "a/b~`c": 1}]}', "/jobs/1/a~1b~0`c", "unknown"),
        (b'{"jobs": [{"type": ""}]}', "/jobs/0/type", "length >= 1"),
        (b'{"jobs": [{"type": "a", "priority": 1.5}]}', "/jobs/0/priority", "got `float`"),
        (b'{"jobs": [{"type": "a", "run_at": "2030-01-01T00:00:00"}]}', "/jobs/0/run_at", "zone"),
        (b'{"jobs": [{"type": "a", "run_at": "soon"}]}', "/jobs/0/run_at", "RFC3339"),
        (b'{"headers": {"a": 1}}', "/headers", "Expected `str`"),
    ],
)
def test_a_fault_is_pointed_at(body: bytes, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidError) as raised:
        codec.decode(body, Nested)

    (fault,) = raised.value.faults
    assert fault.pointer == pointer
    assert detail in fault.detail


@pytest.mark.parametrize("body", [b"", b"{", b'{"jobs": [], "jobs": []}', b"\xff", b"nul"])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.decode(body, Nested)


def test_a_query_fills_its_struct() -> None:
    query = codec.read_query(b"limit=7&type=a%20b%2Bc", Filter)

    assert query == Filter(limit=7, type="a b+c")
    assert codec.read_query(b"", Filter) == Filter()


@pytest.mark.parametrize(
    "raw",
    [
        b"limit=1&limit=1",
        b"LIMIT=1",
        b"other=1",
        b"limit=x",
        b"limit=1.5",
        b"limit",
        b"type=%ff",
        b"type=a%00b",
        b"type=\xc3\xa4",
        b"&&",
    ],
)
def test_a_query_that_is_not_exact_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.read_query(raw, Filter)


def test_null_is_a_word_where_words_are_taken_and_malformed_elsewhere() -> None:
    assert codec.read_query(b"type=null", Filter) == Filter(type="null")
    with pytest.raises(MalformedError, match="until: leave it out"):
        codec.read_query(b"until=null", Filter)


def test_a_time_in_a_query_is_no_number() -> None:
    query = codec.read_query(b"until=2030-01-01T00:00:00Z", Filter)

    assert query.until == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(MalformedError, match="until: must be a time"):
        codec.read_query(b"until=1893456000", Filter)


@pytest.mark.parametrize("time", [b"00:00:00+01:00", b"00:00:00.5+0100"])
def test_a_plus_in_a_query_is_told_how_to_be_written(time: bytes) -> None:
    with pytest.raises(MalformedError, match=r"until: .*; a \+ in a query is a space: .* %2B"):
        codec.read_query(b"until=2030-01-01T" + time, Filter)
    with pytest.raises(MalformedError) as other:
        codec.read_query(b"until=2030-01-01+soon", Filter)
    assert "%2B" not in str(other.value)
    with pytest.raises(MalformedError, match=r"phone_number: .*; a \+ in a query is a space"):
        codec.read_query(b"phone_number=+905551111111", SentQuery)


def test_no_query_is_taken_where_none_is_declared() -> None:
    with pytest.raises(MalformedError, match="none is taken"):
        codec.read_query(b"a=1", None)


def test_an_id_may_be_written_in_either_case() -> None:
    text = "0190B5C2-7D1E-7C3A-9F21-1234567890AB"

    assert codec.identify(text) == UUID(text)


@pytest.mark.parametrize(
    "text",
    ["", "1", "{0190b5c2-7d1e-7c3a-9f21-1234567890ab}", "0190b5c27d1e7c3a9f211234567890ab"],
)
def test_what_is_no_uuid_names_nothing(text: str) -> None:
    with pytest.raises(NotFoundError):
        codec.identify(text)


def test_answers_have_utc_times_and_lower_case_ids() -> None:
    answer = {
        "at": datetime(2030, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
        "id": UUID("0190B5C2-7D1E-7C3A-9F21-1234567890AB"),
    }

    assert codec.encode(answer) == (
        b'{"at":"2030-01-02T03:04:05.000600Z","id":"0190b5c2-7d1e-7c3a-9f21-1234567890ab"}'
    )


def test_equal_values_have_equal_canonical_bytes() -> None:
    one = codec.canonical(JobRequest(type="a", payload={"x": 1, "y": [2]}))
    other = codec.canonical(JobRequest(payload={"y": [2], "x": 1}, type="a"))

    assert one == other
