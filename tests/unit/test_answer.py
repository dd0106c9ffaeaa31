"""What Retry-After and reply bodies are read as."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signalstack.handlers.answer import MAX_RETRY_AFTER_S, excerpt, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999999", MAX_RETRY_AFTER_S),
        ("9" * 5_000, MAX_RETRY_AFTER_S),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 12:01:30 -0000", 90.0),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("Sun, 01 Mar 2026 11:59:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("nan", None),
        ("٣", None),  # a digit, but none of HTTP's
        ("soon", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Sun, 01 Mar 2026 12:01:30 +99999999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"ok\r\n\tdone", "ok\r\n\tdone"),
        ("größer".encode(), "größer"),
        (b"x" * 2_000, "x" * 1_024),
        (b"x" * 1_023 + "€".encode(), "x" * 1_023),
        (b"a\x00b", None),
        (b"\xff\xfe", None),
        (b"\x1b[31mred", None),
    ],
)
def test_excerpt_is_printable_text_or_nothing(body: bytes, text: str | None) -> None:
    assert excerpt(body) == text
