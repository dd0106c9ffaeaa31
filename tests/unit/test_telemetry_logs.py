"""Logs: golden lines in both formats, context that nests, and secrets that stay out."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from anyio import to_thread

from calls import Bounded
from signalstack.core import log, stage
from signalstack.telemetry.logs import Console, Json, configure
from signalstack.telemetry.observer import Telemetry
from signalstack.telemetry.traces import Untraced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.core.handler import Logger
    from signalstack.telemetry.logs import Format, Level

AT = datetime(2026, 5, 4, 3, 2, 1, 987_654, tzinfo=UTC).timestamp()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Out(io.StringIO):
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture(autouse=True)
def put_logging_back() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("signalstack")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def out(level: Level = "info", format_: Format = "json") -> Out:
    stream = Out()
    configure(level, format_, stream)
    return stream


def record(name: str = "signalstack.worker", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "x.py", 1, "job.started", None, None)
    made.created = AT
    made.__dict__["fields"] = fields
    return made


def fail(reason: str) -> None:
    raise ValueError(reason)


def test_a_json_line_has_its_keys_in_order() -> None:
    job = UUID("018f0000-0000-7000-8000-000000000001")

    bound = log.bind(request_id="r-1")
    line = Json().format(record(queue="mail", job_id=job, late_s=0.25, again=False))
    log.unbind(bound)

    assert line == (
        '{"ts":"2026-05-04T03:02:01.987Z","level":"info","event":"job.started",'
        '"logger":"signalstack.worker","queue":"mail",'
        '"job_id":"018f0000-0000-7000-8000-000000000001","late_s":0.25,"again":false,'
        '"request_id":"r-1"}'
    )


def test_a_console_line_is_short() -> None:
    time = datetime.fromtimestamp(AT).astimezone().strftime("%H:%M:%S")

    line = Console(colour=False).format(record(queue="mail", reason="went away", count=3))

    assert line == f'{time}.987 info    job.started queue=mail reason="went away" count=3'


def test_a_library_is_named_on_the_console_and_colours_are_for_terminals() -> None:
    plain = Console(colour=False).format(record("hypercorn.error"))
    coloured = Console(colour=True).format(record("hypercorn.error"))

    assert "hypercorn.error: job.started" in plain
    assert "\x1b[" not in plain
    assert "\x1b[32minfo   \x1b[0m" in coloured


def test_lines_below_the_level_are_dropped_and_libraries_speak_from_warning_up() -> None:
    stream = out("info")

    log.get_logger("signalstack.worker").debug("unheard")
    log.get_logger("signalstack.worker").info("heard")
    logging.getLogger("psycopg.pool").info("unheard")
    logging.getLogger("psycopg.pool").warning("error connecting in %r: %s", "pool-1", "refused")

    assert [(line["logger"], line["event"]) for line in stream.lines()] == [
        ("signalstack.worker", "heard"),
        ("psycopg.pool", "error connecting in 'pool-1': refused"),
    ]


def test_configuring_twice_prints_once() -> None:
    out()
    stream = out()

    log.get_logger("signalstack.worker").warning("once")

    assert stream.line()["event"] == "once"


def test_bound_fields_nest_and_end_where_they_are_unbound() -> None:
    stream = out()
    logger = log.get_logger("signalstack.worker")

    outer = log.bind(request_id="r", job_id="outer")
    inner = log.bind(job_id="inner")
    logger.info("a")
    logger.info("b", job_id="own")
    log.unbind(inner)
    logger.info("c")
    log.unbind(outer)
    logger.info("d")

    seen = [(line["event"], line.get("request_id"), line.get("job_id")) for line in stream.lines()]
    assert seen == [("a", "r", "inner"), ("b", "r", "own"), ("c", "r", "outer"), ("d", None, None)]


async def test_bound_fields_reach_a_plain_handler_in_its_thread() -> None:
    stream = out()

    bound = log.bind(job_id="j")
    await to_thread.run_sync(log.get_logger("signalstack.worker").info, "in.thread")
    log.unbind(bound)

    assert stream.line()["job_id"] == "j"


def test_a_logger_can_carry_fields_of_its_own() -> None:
    stream = out()
    logger: Logger = log.get_logger("signalstack.job").having(job_id="j", attempt=2)

    logger.warning("slow", attempt=3, took_s=1.5)

    line = stream.line()
    assert (line["job_id"], line["attempt"], line["took_s"]) == ("j", 3, 1.5)


def test_the_trace_of_what_is_going_on_is_in_the_line() -> None:
    stream = out()

    with Untraced().span("process mail", "consumer", parent=TRACEPARENT):
        log.get_logger("signalstack.worker").info("job.started")

    line = stream.line()
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["span_id"] == "b7ad6b7169203331"


def test_an_exception_is_one_string() -> None:
    stream = out()

    try:
        fail("postgresql://app:hunter2@db/x")
    except ValueError:
        log.get_logger("signalstack.store").exception("query.failed", query="jobs/claim")

    line = stream.line()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: postgresql://app:***@db/x")


def test_an_exception_on_the_console_follows_its_line() -> None:
    stream = out(format_="console")

    try:
        fail("no")
    except ValueError:
        log.get_logger("signalstack.store").exception("query.failed")

    first, second, *_, last = stream.getvalue().splitlines()
    assert first.endswith("query.failed")
    assert (second, last) == ("Traceback (most recent call last):", "ValueError: no")


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "api_key", "x-api-key", "webhook_auth_key"),
        *("secret", "password", "database_dsn", "lease_token", "cookie"),
    ],
)
def test_a_field_named_like_a_secret_is_hidden(name: str) -> None:
    stream = out()

    log.get_logger("signalstack.api").info("request", **{name: "hunter2", "headers": {name: "x"}})

    line = stream.line()
    assert line[name] == "***"
    assert line["headers"] == {name: "***"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to postgresql://app:hunter2@db:5432/x", "to postgresql://app:***@db:5432/x"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("host=db password=hunter2 user=app", "host=db password=*** user=app"),
        ("host=db password = 'hunter 2'", "host=db password = ***"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("made whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "made whsec_***"),
        ("key ss_live_4fZk_0123456789abcdefXYZ_9a8b7c", "key ss_live_4fZk_***"),
        ("GET http://localhost:8080/v1/jobs?to=a@b", "GET http://localhost:8080/v1/jobs?to=a@b"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_secret_inside_text_is_masked(text: str, masked: str) -> None:
    stream = out()

    log.get_logger("signalstack.store").info("connecting", where=text, nested=[{"text": text}])
    logging.getLogger("psycopg.pool").warning("%s", text)

    ours, theirs = stream.lines()
    assert (ours["where"], ours["nested"]) == (masked, [{"text": masked}])
    assert theirs["event"] == masked


def test_anything_can_be_logged() -> None:
    stream = out()
    endless: dict[str, Any] = {}
    endless["self"] = endless

    log.get_logger("signalstack.api").info(
        "odd",
        level="mine",
        surrogate="\ud800",
        huge=2**80,
        nan=float("nan"),
        raw=b"\x00\x01",
        kind=ValueError("no"),
        endless=endless,
        keys={1: {2}},
    )

    line = stream.line()
    assert (line["level"], line["level_"], line["huge"]) == ("info", "mine", 2**80)
    assert (line["raw"], line["kind"], line["keys"]) == ("<2 bytes>", "no", {"1": [2]})


def test_a_line_below_the_level_costs_next_to_nothing() -> None:
    stream = out("warning")
    logger = log.get_logger("signalstack.worker")

    logger.info("unheard", job=0)  # the first one learns the level

    with Bounded(2):
        logger.info("unheard", job=1)

    assert stream.getvalue() == ""


def test_stderr_is_where_logs_go_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")

    log.get_logger("signalstack.cli").error("here", pid=1)

    assert sys.stderr.isatty() is False
    assert '"event":"here"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (stage.ListenerChanged(name="x", up=True, reason="connected"), ("info", "listener.up")),
        (stage.ListenerChanged(name="x", up=False, reason="reset"), ("warning", "listener.down")),
        (
            stage.ListenerChanged(name="x", up=False, reason="off", wanted=False),
            ("info", "listener.off"),
        ),
        (stage.Rescued(count=3), ("warning", "jobs.rescued")),
        (stage.LeaderChanged(leading=True), ("info", "leader.leads")),
        (stage.LeaderChanged(leading=False), ("info", "leader.stands_by")),
    ],
)
def test_facts_that_operators_expect_in_the_log(
    fact: stage.Fact, expected: tuple[str, str]
) -> None:
    stream = out()
    telemetry = Telemetry(version="1")

    telemetry.tell(fact)
    telemetry.tell(stage.Rescued(count=0))

    line = stream.line()
    assert (line["level"], line["event"]) == expected
