"""Which request headers are taken, made or refused."""

from __future__ import annotations

import pytest

from signalstack.api import headers
from signalstack.api.auth import token
from signalstack.api.body import check_media
from signalstack.api.idempotency import key_of
from signalstack.api.problems import AmbiguousError, HeadersTooLargeError
from signalstack.core.errors import (
    InvalidError,
    MalformedError,
    UnauthenticatedError,
    UnsupportedMediaError,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "raw",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"5"), (b"content-length", b"6")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"\xb2")],
        [(b"authorization", b"Bearer a"), (b"Authorization", b"Bearer b")],
        [(b"content-type", b"application/json"), (b"content-type", b"application/json")],
        [(b"host", b"a"), (b"host", b"b")],
        [(b"ce-id", b"1"), (b"ce-id", b"1")],
    ],
)
def test_what_two_parties_could_read_differently_is_refused(raw: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(AmbiguousError):
        headers.refuse_ambiguous(raw, headers.fold(raw))


@pytest.mark.parametrize("value", [b"a\x07", b"a\x7f", b"a\nb"])
def test_a_header_with_a_control_character_is_refused(value: bytes) -> None:
    with pytest.raises(AmbiguousError):
        headers.refuse_unsound([(b"x-a", value)])


@pytest.mark.parametrize(
    "raw", [[(b"a", b"")] * 101, [(b"x-a", b"x" * 16_384)]], ids=["many", "long"]
)
def test_more_headers_than_anybody_needs_are_refused(raw: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(HeadersTooLargeError):
        headers.refuse_unsound(raw)


def test_other_headers_may_repeat() -> None:
    raw = [(b"accept", b"a"), (b"accept", b"b"), (b"content-length", b"0")]
    folded = headers.fold(raw)

    headers.refuse_ambiguous(raw, folded)

    assert folded["accept"] == "a, b"


def test_a_length_of_a_thousand_digits_is_just_too_much() -> None:
    assert headers.content_length({"content-length": "9" * 1_000}) == 10**18


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 128])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert headers.request_id({"x-request-id": given}) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\n", "ä", "a, b"])
def test_another_request_id_is_replaced(given: str) -> None:
    made = headers.request_id({"x-request-id": given})

    assert made != given
    assert headers.REQUEST_ID.fullmatch(made)


def test_a_valid_traceparent_is_honoured() -> None:
    assert headers.traceparent({"traceparent": TRACE}) == TRACE


@pytest.mark.parametrize(
    "given",
    [
        TRACE.upper(),
        TRACE + "-x",
        "ff" + TRACE[2:],
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
        f"{TRACE}, {TRACE}",
    ],
)
def test_a_broken_traceparent_counts_as_absent(given: str) -> None:
    assert headers.traceparent({"traceparent": given}) is None


@pytest.mark.parametrize(
    "given",
    [
        {"authorization": "Bearer k"},
        {"authorization": "bearer  k"},
        {"x-api-key": "k"},
        {"authorization": "Bearer k", "x-api-key": "k"},
    ],
)
def test_the_key_comes_from_either_header(given: dict[str, str]) -> None:
    assert token(given) == "k"


def test_two_different_keys_are_malformed() -> None:
    with pytest.raises(MalformedError):
        token({"authorization": "Bearer a", "x-api-key": "b"})


@pytest.mark.parametrize(
    "given",
    [{}, {"authorization": "Basic eA=="}, {"authorization": "Bearer"}, {"x-api-key": ""}],
)
def test_no_key_is_unauthenticated(given: dict[str, str]) -> None:
    with pytest.raises(UnauthenticatedError):
        token(given)


@pytest.mark.parametrize(
    "given",
    ["application/json", "Application/JSON", 'application/json; charset="UTF-8"'],
)
def test_json_in_utf_8_is_read(given: str) -> None:
    check_media({"content-type": given}, ["application/json"])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"content-type": "text/json"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; profile=x"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_media_types_and_encodings_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaError):
        check_media(given, ["application/json"])


def test_the_idempotency_key_comes_from_header_or_body() -> None:
    assert key_of({}) is None
    assert key_of({}, "b") == "b"
    assert key_of({"idempotency-key": "a"}) == "a"
    assert key_of({"idempotency-key": "a"}, "a") == "a"


def test_two_different_idempotency_keys_are_invalid() -> None:
    with pytest.raises(InvalidError) as raised:
        key_of({"idempotency-key": "a"}, "b")

    assert raised.value.faults[0].pointer == "/idempotency_key"


@pytest.mark.parametrize("given", ["", "a b", "x" * 256, "ä"])
def test_a_header_that_is_no_idempotency_key_is_malformed(given: str) -> None:
    with pytest.raises(MalformedError):
        key_of({"idempotency-key": given})
