"""The metrics endpoint: what a scraper gets, and what an operator is told when it cannot listen."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, cast

import httpx2
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from signalstack.core import stage
from signalstack.core.errors import SettingsError
from signalstack.core.job import Wake
from signalstack.telemetry.exposition import bind
from signalstack.telemetry.observer import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry(version="1.2.3")
    yield telemetry
    telemetry.close()


def scrape(port: int, accept: str = "text/plain; version=0.0.4") -> httpx2.Response:
    return httpx2.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})


def names(families: Iterable[Metric]) -> set[str]:
    return {family.name for family in families}


def test_port_zero_takes_a_free_port_and_says_which(telemetry: Telemetry) -> None:
    port = telemetry.start(bind("127.0.0.1", 0))

    telemetry.tell(stage.Woken(cause=Wake.RESCUE))

    answer = scrape(port)
    assert port > 0
    assert answer.status_code == 200
    assert 'signalstack_wakeups_total{cause="rescue"} 1.0\n' in answer.text


def test_only_what_can_wake_a_claimer_is_shown_from_the_start(telemetry: Telemetry) -> None:
    text = scrape(telemetry.start(bind("127.0.0.1", 0))).text

    causes = re.findall(r'^signalstack_wakeups_total\{cause="(\w+)"\} 0', text, re.MULTILINE)
    assert sorted(causes) == ["backlog", "notify", "poll", "timer"]


def test_both_formats_parse_and_hold_the_same(telemetry: Telemetry) -> None:
    port = telemetry.start(bind("127.0.0.1", 0))
    started = {"queue": "a", "type": "t", "attempt": 1, "wake": Wake.POLL, "due_at": 0, "at": 0.1}
    telemetry.tell(stage.Started(job="j", **started))  # pyright: ignore[reportArgumentType] - brevity

    text, om = scrape(port), scrape(port, OPENMETRICS)

    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert om.headers["content-type"].startswith(OPENMETRICS)
    in_text = names(text_string_to_metric_families(text.text))
    parse = cast("Callable[[str], Iterable[Metric]]", openmetrics.text_string_to_metric_families)
    assert in_text == names(parse(om.text))
    assert {"process_open_fds", "python_info", "python_gc_collections"} <= in_text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say(telemetry: Telemetry) -> None:
    text = scrape(telemetry.start(bind("127.0.0.1", 0))).text

    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - wherever it is installed
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_one_family_can_be_asked_for(telemetry: Telemetry) -> None:
    port = telemetry.start(bind("127.0.0.1", 0))

    answer = httpx2.get(
        f"http://127.0.0.1:{port}/metrics", params={"name[]": "signalstack_build_info"}
    )

    assert names(text_string_to_metric_families(answer.text)) == {"signalstack_build_info"}


def test_nothing_listens_after_close(telemetry: Telemetry) -> None:
    port = telemetry.start(bind("127.0.0.1", 0))

    telemetry.close()

    with pytest.raises(httpx2.ConnectError):
        scrape(port)


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match=rf"METRICS_PORT={port}: .* 0 for any free one"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("no.such.host.invalid", "no such host"),
        ("a..b", "no such host"),
        ("192.0.2.1", "not an address"),
    ],
)
def test_a_host_that_is_not_ours_is_named(host: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=rf"METRICS_HOST={host}: {problem}"):
        bind(host, 0)


def test_a_scraper_that_goes_away_is_no_news(
    telemetry: Telemetry, capfd: pytest.CaptureFixture[str]
) -> None:
    port = telemetry.start(bind("127.0.0.1", 0))
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")

    assert scrape(port).status_code == 200
    assert capfd.readouterr().err == ""
