"""CloudEvents over HTTP, read in every mode; the project's own SDK writes the messages."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.cloudevent import MAX_BATCH, Mode, mode, read
from signalstack.core.errors import (
    InvalidError,
    MalformedError,
    SignalStackError,
    UnsupportedMediaError,
)

if TYPE_CHECKING:
    from signalstack.core.event import NewEvent

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
REQUIRED = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.paid"}
HEADERS = {f"ce-{name}": value for name, value in REQUIRED.items()}

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
ATTRIBUTES = st.fixed_dictionaries(
    {"id": TEXT, "source": TEXT, "type": TEXT, "specversion": st.just("1.0")},
    optional={
        "subject": TEXT,
        "time": st.datetimes(timezones=st.just(UTC)),
        "partitionkey": TEXT,
        "dataschema": TEXT,
    },
)
DATA = st.dictionaries(TEXT, st.integers(-5, 5) | TEXT | st.none(), min_size=1, max_size=3)


def _read(message: HTTPMessage) -> NewEvent:
    headers = {name.lower(): value for name, value in message.headers.items()}
    content_type = headers.get("content-type")
    found = mode(content_type, headers)
    assert found is not None
    [event] = read(found, content_type, headers, message.body)
    return event


def _structured(**changed: Any) -> NewEvent:
    body = json.dumps(REQUIRED | changed).encode()
    [event] = read(Mode.STRUCTURED, STRUCTURED, {}, body)
    return event


def _binary(content_type: str | None, body: bytes, **headers: str) -> NewEvent:
    named = {f"ce-{name}": value for name, value in headers.items()}
    [event] = read(Mode.BINARY, content_type, HEADERS | named, body)
    return event


@given(ATTRIBUTES, DATA, st.sampled_from([to_binary_event, to_structured_event]))
def test_what_the_sdk_writes_is_read_in_both_modes(
    attributes: dict[str, Any], data: dict[str, Any], write: Any
) -> None:
    attributes["datacontenttype"] = "application/json"
    event = _read(write(CloudEvent(dict(attributes), data)))

    assert event.external_id == attributes["id"]
    assert event.source == attributes["source"]
    assert event.type == attributes["type"]
    assert event.subject == attributes.get("subject")
    if "time" in attributes:
        assert event.occurred_at == attributes["time"]
    assert json.loads(event.payload) == data
    kept = {name: attributes[name] for name in ("partitionkey", "dataschema") if name in attributes}
    assert json.loads(event.extensions or b"{}") == kept


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
@pytest.mark.parametrize(
    ("content_type", "data", "payload"),
    [
        ("text/plain", "a < b\n", "a < b\n"),
        ("application/xml", '<much wow="xml"/>', '<much wow="xml"/>'),
        ("application/soap+xml; charset=utf-8", "<é/>", "<é/>"),
        ("application/octet-stream", b"\x00\xff", {"data_base64": "AP8="}),
        ("image/png", b"PNG", {"data_base64": "UE5H"}),
        ("text/plain", b"bytes", "bytes"),
        ("application/vnd.shop+json", {"a": 1}, {"a": 1}),
        ("application/json", b'{"a":1}', {"a": 1}),
    ],
)
def test_data_of_any_type_is_the_same_in_both_modes(
    write: Any, content_type: str, data: Any, payload: Any
) -> None:
    event = _read(write(CloudEvent({**REQUIRED, "datacontenttype": content_type}, data)))

    assert json.loads(event.payload) == payload
    kept = {} if content_type == "application/json" else {"datacontenttype": content_type}
    assert json.loads(event.extensions or b"{}") == kept


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_an_event_without_data_has_the_payload_null(write: Any) -> None:
    assert _read(write(CloudEvent(dict(REQUIRED)))).payload == b"null"


@pytest.mark.parametrize(
    ("content_type", "headers", "expected"),
    [
        (STRUCTURED, {}, Mode.STRUCTURED),
        ("Application/CloudEvents+JSON; charset=UTF-8", HEADERS, Mode.STRUCTURED),
        (BATCH, {}, Mode.BATCH),
        ("application/json", HEADERS, Mode.BINARY),
        (None, HEADERS, Mode.BINARY),
        ("application/json", {"ce-id": "1"}, Mode.BINARY),
        ("application/json", {"ce-subject": "x"}, None),
        ("application/json", {}, None),
        (None, {}, None),
        ("nonsense", {}, None),
    ],
)
def test_the_mode_is_told_by_the_headers(
    content_type: str | None, headers: dict[str, str], expected: Mode | None
) -> None:
    assert mode(content_type, headers) is expected


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/cloudevents-batch+xml",
    ],
)
def test_other_formats_are_not_read(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaError):
        mode(content_type, {})


@pytest.mark.parametrize("content_type", [STRUCTURED, BATCH])
def test_json_in_another_charset_is_not_read(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="utf-16"):
        read(Mode(mode(content_type, {}) or ""), content_type + "; charset=utf-16", {}, b"{}")


def test_text_in_latin_1_is_read() -> None:
    event = _binary("text/plain; charset=ISO-8859-1", "é".encode("latin-1"))

    assert json.loads(event.payload) == "é"


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("text/plain; charset=koi8-r", b"x", UnsupportedMediaError),
        ("application/json; charset=latin-1", b"{}", UnsupportedMediaError),
        ("text/plain", b"\xff", MalformedError),
        ("text/plain", b"a\0b", InvalidError),
        ("application/json", b"{", MalformedError),
        ("application/json", b'{"a":1,"a":2}', MalformedError),
        ("a/b+json", b"[1e400]", InvalidError),
        (None, b"plain", MalformedError),
    ],
)
def test_data_that_is_not_what_its_type_says_is_refused(
    content_type: str | None, body: bytes, error: type[SignalStackError]
) -> None:
    with pytest.raises(error):
        _binary(content_type, body)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("plain%41", "plainA"),
        ("a b", "a b"),
        ('"quoted \\"text\\" %25"', 'quoted "text" %'),
        ("100%", "100%"),
        ("%2541", "%41"),
    ],
)
def test_header_values_are_decoded_once(header: str, value: str) -> None:
    assert _binary(None, b"", subject=header).subject == value


@pytest.mark.parametrize("header", ["%C0%A0", "%FF", "%ED%A0%80", "é", "a\x7f"])
def test_headers_that_are_not_encoded_utf_8_are_malformed(header: str) -> None:
    with pytest.raises(MalformedError, match="ce-subject"):
        _binary(None, b"", subject=header)


def test_times_of_any_zone_are_kept_as_utc() -> None:
    event = _structured(time="2026-03-01t12:00:00.25+02:00")

    assert event.occurred_at is not None
    assert event.occurred_at.tzinfo is UTC
    assert event.occurred_at.isoformat() == "2026-03-01T10:00:00.250000+00:00"


def test_extensions_of_every_type_are_kept() -> None:
    event = _structured(partitionkey="p", sampledrate=-5, flag=False, unset=None)

    assert event.extensions == b'{"flag":false,"partitionkey":"p","sampledrate":-5}'


def test_an_event_of_core_attributes_alone_has_no_extensions() -> None:
    assert _structured(datacontenttype="application/json", data=1).extensions is None


def test_data_in_base64_without_a_type_stays_encoded() -> None:
    assert json.loads(_structured(data_base64="AP8=").payload) == {"data_base64": "AP8="}


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        ({"id": None}, ["/id"]),
        ({"id": "", "source": None, "type": 5}, ["/id", "/source", "/type"]),
        ({"specversion": None}, ["/specversion"]),
        ({"specversion": "0.3"}, ["/specversion"]),
        ({"specversion": 1.0}, ["/specversion"]),
        ({"type": "t" * 256}, ["/type"]),
        ({"source": "s" * 1_001}, ["/source"]),
        ({"subject": ""}, ["/subject"]),
        ({"subject": "a\nb"}, ["/subject"]),
        ({"time": "yesterday"}, ["/time"]),
        ({"time": "2026-03-01"}, ["/time"]),
        ({"time": "2026-03-01T12:00:00"}, ["/time"]),
        ({"time": "2026-02-30T12:00:00Z"}, ["/time"]),
        ({"time": "0001-01-01T00:00:00+14:00"}, ["/time"]),
        ({"time": 1772366400}, ["/time"]),
        ({"datacontenttype": "json"}, ["/datacontenttype"]),
        ({"dataschema": 5}, ["/dataschema"]),
        ({"Upper": "x"}, ["/Upper"]),
        ({"snake_case": "x"}, ["/snake_case"]),
        ({"a/b": "x"}, ["/a~1b"]),
        ({"ext": 1.5}, ["/ext"]),
        ({"ext": 2**31}, ["/ext"]),
        ({"ext": {}}, ["/ext"]),
        ({"ext": ["x"]}, ["/ext"]),
        ({"ext": "\x01"}, ["/ext"]),
        ({"data": 1, "data_base64": "AP8="}, ["/data_base64"]),
        ({"data_base64": "?"}, ["/data_base64"]),
        ({"data_base64": 5}, ["/data_base64"]),
        ({"data_base64": "é"}, ["/data_base64"]),
    ],
)
def test_wrong_attributes_are_invalid_all_at_once(
    changed: dict[str, Any], pointers: list[str]
) -> None:
    with pytest.raises(InvalidError) as caught:
        _structured(**changed)

    assert [fault.pointer for fault in caught.value.faults] == pointers


def test_missing_headers_are_named() -> None:
    with pytest.raises(InvalidError) as caught:
        read(Mode.BINARY, "application/json", {"ce-id": "1", "ce-specversion": "1.0"}, b"{}")

    assert [fault.pointer for fault in caught.value.faults] == ["/source", "/type"]


@pytest.mark.parametrize("name", ["data", "data_base64", "datacontenttype"])
def test_data_is_never_a_header(name: str) -> None:
    with pytest.raises(InvalidError, match=f"ce-{name}"):
        _binary(None, b"", **{name: "x"})


def test_a_batch_is_read_in_order() -> None:
    body = json.dumps([REQUIRED | {"id": str(n), "data": n} for n in range(3)]).encode()

    events = read(Mode.BATCH, BATCH, {}, body)

    assert [event.external_id for event in events] == ["0", "1", "2"]
    assert [event.payload for event in events] == [b"0", b"1", b"2"]
    assert events[0].id < events[1].id < events[2].id


def test_a_batch_may_be_empty() -> None:
    assert read(Mode.BATCH, BATCH, {}, b"[]") == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ([REQUIRED] * (MAX_BATCH + 1), ""),
        ([REQUIRED, 5], "/1"),
        ([REQUIRED, REQUIRED | {"type": ""}], "/1/type"),
    ],
)
def test_a_wrong_batch_is_invalid(body: Any, pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read(Mode.BATCH, BATCH, {}, json.dumps(body).encode())

    assert caught.value.faults[0].pointer == pointer


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null"])
def test_a_structured_event_is_an_object(body: bytes) -> None:
    with pytest.raises(InvalidError, match="is an object"):
        read(Mode.STRUCTURED, STRUCTURED, {}, body)


@given(
    st.dictionaries(st.sampled_from([*HEADERS, "ce-x", "ce-time", "ce-"]), st.text(max_size=9)),
    st.none() | st.text(max_size=20),
    st.binary(max_size=20),
)
def test_any_message_is_read_or_refused(
    headers: dict[str, str], content_type: str | None, body: bytes
) -> None:
    try:
        events = read(Mode.BINARY, content_type, HEADERS | headers, body)
    except SignalStackError:
        return
    assert len(events) == 1
