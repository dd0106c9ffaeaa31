"""Traces that nobody collects: context is handed on, and nothing else happens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from calls import Bounded
from signalstack.telemetry.observer import Telemetry
from signalstack.telemetry.traces import UNRECORDED, current_traceparent, parse

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
TRACEPARENT = f"00-{IDS}-01"


def test_the_context_that_came_in_is_handed_on_unchanged() -> None:
    observer = Telemetry(version="1")

    with observer.span("POST /v1/events", "server", parent=TRACEPARENT) as server:
        with observer.span("send default", "producer") as producer:
            assert producer.traceparent == TRACEPARENT
        assert server.traceparent == TRACEPARENT
    assert current_traceparent() is None


def test_a_retry_hands_on_the_context_it_is_linked_to() -> None:
    with Telemetry(version="1").span("process default", "consumer", link=TRACEPARENT) as span:
        assert span.traceparent == TRACEPARENT


def test_without_a_context_there_is_nothing_to_hand_on() -> None:
    with Telemetry(version="1").span("POST /v1/events", "server") as span:
        span.set({"http.response.status_code": 201})
        span.fail("nobody sees it")
        assert span.traceparent is None
        assert span is UNRECORDED


@pytest.mark.parametrize(
    "good", [TRACEPARENT, f"00-{IDS}-00", f"00-{IDS}-03", f"cc-{IDS}-01", f"cc-{IDS}-01-what-more"]
)
def test_a_valid_traceparent_is_taken_as_it_is(good: str) -> None:
    assert parse(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        "garbage",
        TRACEPARENT.upper(),
        f" {TRACEPARENT}",
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}-more",
        f"ff-{IDS}-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"cc-{IDS}-01-{'x' * 300}",
    ],
)
def test_an_invalid_traceparent_is_ignored(bad: str | None) -> None:
    assert parse(bad) is None
    with Telemetry(version="1").span("POST /v1/events", "server", parent=bad) as span:
        assert span.traceparent is None


def test_opentelemetry_is_not_even_loaded() -> None:
    code = (
        "import sys, signalstack.cli, signalstack.wiring;"
        "from signalstack.telemetry.observer import Telemetry; Telemetry(version='1');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_span_that_nobody_collects_costs_next_to_nothing() -> None:
    observer = Telemetry(version="1")

    with (
        Bounded(6),  # one that is collected takes 170
        observer.span("process default", "consumer", parent=TRACEPARENT),
    ):
        pass
