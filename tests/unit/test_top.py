"""The live view: figures from two looks, what it warns of, and how it fits a terminal."""

from __future__ import annotations

import io
import math
import re
import socket
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from rich.console import Console

from signalstack.core import stage
from signalstack.core.job import Outcome, Wake
from signalstack.telemetry import scrape
from signalstack.telemetry.exposition import bind
from signalstack.telemetry.observer import Telemetry
from signalstack.top.hints import find_hints
from signalstack.top.lookout import Lookout
from signalstack.top.picture import Glance, Picture, draw
from signalstack.top.quantile import Quantile, quantile
from signalstack.top.reading import Change, Reading
from signalstack.top.target import Target
from signalstack.top.view import render
from signalstack.top.words import write_quantile, write_rate, write_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

LEADER = """
signalstack_build_info{role="worker",version="1.2.3"} 1
signalstack_maintenance_leader 1
signalstack_database_up 1
signalstack_listener_up 1
signalstack_worker_slots{state="busy"} 3
signalstack_worker_slots{state="free"} 7
signalstack_queue_gauges_timestamp_seconds 1000
signalstack_queue_depth{queue="mail",status="pending"} 40
signalstack_queue_depth{queue="mail",status="running"} 3
signalstack_queue_oldest_seconds{queue="mail"} 2.5
signalstack_queue_workers{queue="mail"} 1
signalstack_workers{state="alive"} 2
"""


def reading(at_s: float, page: str) -> Reading:
    return Reading(at_s=at_s, numbers=scrape.read(page.lstrip()))


def glance(page: str, before: str | None = None, target: str = "a:1") -> Glance:
    after = reading(12.0, page)
    change = Change(before=reading(10.0, before), after=after) if before is not None else None
    return Glance(target=target, reading=after, change=change)


def shown(picture: Picture, width: int, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(render(picture, title="every 1s", width=width, height=height))
    return capture.get()


# Quantiles, by the rules of Prometheus' histogram_quantile.


@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [
        (0.5, {0.001: 0, 0.002: 100, math.inf: 100}, Quantile(seconds=0.0015)),
        (0.99, {0.001: 0, 0.002: 100, math.inf: 100}, Quantile(seconds=0.00199)),
        (0.5, {0.001: 50, 0.002: 100, math.inf: 100}, Quantile(seconds=0.001, bound="at most")),
        (0.75, {0.001: 50, 0.002: 100, math.inf: 100}, Quantile(seconds=0.0015)),
        (0.5, {0.001: 0, 0.002: 0, 0.003: 4, math.inf: 4}, Quantile(seconds=0.0025)),
        (0.99, {0.001: 90, 0.002: 90, math.inf: 100}, Quantile(seconds=0.002, bound="above")),
        (0.5, {0.001: 0, 0.002: 0, math.inf: 0}, None),
        (0.5, {}, None),
    ],
)
def test_a_quantile_lies_within_its_bucket_or_is_a_bound(
    q: float, counts: dict[float, float], expected: Quantile | None
) -> None:
    found = quantile(q, counts)

    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.bound, found.seconds) == (expected.bound, pytest.approx(expected.seconds))


def test_buckets_of_two_builds_do_not_make_a_quantile_fall() -> None:
    counts = {0.001: 10.0, 0.0015: 4.0, 0.002: 12.0, math.inf: 12.0}

    found = [quantile(q, counts) for q in (0.5, 0.9, 0.99)]

    seconds = [one.seconds for one in found if one]
    assert seconds == sorted(seconds)
    assert len(seconds) == 3


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Quantile(seconds=0.0005, bound="at most"), "≤ 0.5 ms"),
        (Quantile(seconds=60.0, bound="above"), "> 60 s"),
        (Quantile(seconds=0.00095), "0.95 ms"),
        (Quantile(seconds=0.0123), "12.3 ms"),
        (Quantile(seconds=0.25), "250 ms"),
        (None, "-"),
    ],
)
def test_quantiles_are_written_with_their_certainty(value: Quantile | None, says: str) -> None:
    assert write_quantile(value) == says


def test_long_times_and_large_rates_stay_short() -> None:
    assert [write_seconds(s) for s in (4.25, 200, 3_900)] == ["4.2 s", "3m 20s", "1h 5m"]
    assert [write_rate(r) for r in (0, 0.04, 12.34, 41_553)] == ["0", "0.04", "12.3", "41,553"]


# Rates from counters.

JOB = UUID(int=1)
BORN = "process_start_time_seconds {}\n"
COUNT = 'signalstack_jobs_finished_total{{queue="q",type="t",outcome="{}"}} {}\n'


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        (BORN.format(1) + COUNT.format("failed", 5), BORN.format(1) + COUNT.format("failed", 9), 4),
        (COUNT.format("failed", 5), COUNT.format("failed", 2), 2),
        # It began again and has passed its old count meanwhile: only its birth tells.
        (BORN.format(1) + COUNT.format("failed", 5), BORN.format(9) + COUNT.format("failed", 8), 8),
        (BORN.format(1), BORN.format(1) + COUNT.format("failed", 3), 3),
        # One series went back, so the other began again too.
        (
            COUNT.format("failed", 5) + COUNT.format("succeeded", 1),
            COUNT.format("failed", 1) + COUNT.format("succeeded", 6),
            7,
        ),
        (COUNT.format("failed", 5), BORN.format(9), 0),
    ],
)
def test_a_counter_that_begins_again_counts_from_zero(
    before: str, after: str, grown: float
) -> None:
    change = Change(before=reading(10.0, before), after=reading(12.0, after))

    assert sum(change.growth("jobs_finished_total").values()) == grown


def test_rates_and_latencies_are_those_of_the_interval_alone() -> None:
    def page(fast: int, slow: int) -> str:
        name, labels = "signalstack_dispatch_latency_seconds", 'queue="mail",wake="notify"'
        return (
            LEADER
            + "".join(
                f'{name}_bucket{{{labels},le="{le}"}} {count}\n'
                for le, count in (("0.001", fast), ("0.002", fast + slow), ("+Inf", fast + slow))
            )
            + f"{name}_count{{{labels}}} {fast + slow}\n"
            + f'signalstack_jobs_enqueued_total{{queue="mail",type="t"}} {fast + slow}\n'
        )

    picture = draw([glance(page(1_000, 50), page(1_000, 0))], now_s=1003.0)

    dispatch = picture.latencies["dispatch"]
    assert (dispatch.rate, dispatch.p50, dispatch.p99) == (
        25.0,
        Quantile(seconds=0.0015),
        Quantile(seconds=0.00199),
    )
    (queue,) = picture.queues
    assert (queue.name, queue.enqueued, queue.dispatch) == ("mail", 25.0, dispatch)
    assert (dict(queue.depth), queue.oldest_s) == ({"pending": 40, "running": 3}, 2.5)
    assert (picture.gauges_age_s, picture.wakes) == (3.0, {"notify": 1.0})


def test_depths_are_those_of_the_leader_who_read_them_last() -> None:
    old = LEADER.replace(" 1000", " 900").replace(" 40", " 7")

    for pages in ([LEADER, old], [old, LEADER]):
        (queue,) = draw([glance(page) for page in pages], now_s=1000.0).queues
        assert queue.depth["pending"] == 40


def test_targets_are_added_up_and_keep_their_own_time() -> None:
    before, after = COUNT.format("succeeded", 0), COUNT.format("succeeded", 60)
    slow = Change(before=reading(0.0, before), after=reading(12.0, after))

    picture = draw([glance(after, before), Glance(target="b:1", change=slow)], now_s=0.0)

    assert picture.rates is not None
    assert picture.rates.outcomes["succeeded"] == 60 / 2 + 60 / 12


# Hints.


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("listener_up 1", "listener_up 0"), "listener of a:1 is down: polling"),
        (("database_up 1", "database_up 0"), "a:1 does not reach PostgreSQL"),
        (('queue_workers{queue="mail"} 1', 'queue_workers{queue="mail"} 0'), "no worker serves it"),
        (("} 2.5", "} 90"), "queue mail: the oldest has waited 90 s"),
        (('state="free"} 7', 'state="free"} 0'), "no free slot"),
        (('state="alive"} 2', 'state="stale"} 1'), "1 stale worker:"),
        ((" 1000", " 100"), "depths were read 900 s ago"),
        (("leader 1", "leader 0"), "none of these targets leads"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(change: tuple[str, str], says: str) -> None:
    assert find_hints(draw([glance(LEADER)], now_s=1000.0)) == []

    hints = find_hints(draw([glance(LEADER.replace(*change))], now_s=1000.0))

    assert len(hints) == 1
    assert says in hints[0]


def test_a_pause_of_one_tenant_hides_no_age_of_others() -> None:
    paused = LEADER.replace("} 2.5", "} 90") + (
        'signalstack_queue_paused{queue="mail"} 1\n'
        'signalstack_queue_depth{queue="mail",status="paused"} 7\n'
    )

    assert find_hints(draw([glance(paused)], now_s=1000.0)) == [
        "queue mail: the oldest has waited 90 s",
        "queue mail is paused for all or for some tenant: 7 jobs are held",
    ]


def test_a_worker_that_was_told_not_to_listen_is_not_down() -> None:
    page = LEADER.replace(
        "signalstack_listener_up 1\n",
        'signalstack_listener_mode{mode="off"} 1\nsignalstack_listener_mode{mode="polling"} 0\n',
    )

    picture = draw([glance(page)], now_s=1000.0)

    assert find_hints(picture) == []
    assert [line.listener for line in picture.processes] == ["off"]


def test_messages_may_wait_since_their_pace_is_set() -> None:
    old = LEADER.replace("} 2.5", "} 90").replace('queue="mail"', 'queue="messages"')

    assert find_hints(draw([glance(old)], now_s=1000.0)) == []


def test_failing_jobs_and_lost_notifications_are_said() -> None:
    start = 'signalstack_dispatch_latency_seconds_count{{queue="q",wake="{}"}} {}\n'
    before = LEADER + COUNT.format("failed", 0) + start.format("poll", 0)
    after = LEADER + COUNT.format("failed", 8) + start.format("poll", 8)

    hints = find_hints(draw([glance(after, before)], now_s=1000.0))

    assert [hint.split(":")[0] for hint in hints] == [
        "100% of the jobs that end fail",
        "100% of the starts were found by polling",
    ]


# Looking.


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry(version="1.2.3", build={"role": "worker"})
    yield telemetry
    telemetry.close()


async def test_a_process_is_watched_while_another_is_away(telemetry: Telemetry) -> None:
    here = Target(host="127.0.0.1", port=telemetry.start(bind("127.0.0.1", 0)))
    away = Target(host="127.0.0.1", port=1)
    telemetry.tell(stage.SlotsChanged(busy=1, free=9))
    async with Lookout([here, away], patience_s=10.0) as lookout:
        first = draw(await lookout.look(), now_s=0.0)
        for queue, wake in (("a", Wake.NOTIFY), ("b", Wake.POLL)):
            telemetry.tell(
                stage.Started(
                    job=JOB, queue=queue, type="t", attempt=1, wake=wake, due_at=0.0, at=0.0018
                )
            )
        telemetry.tell(
            stage.Settled(
                jobs=(JOB,), stale=0, duration_s=0.1, ended={("a", "t", Outcome.FAILED): 1}
            )
        )
        second = draw(await lookout.look(), now_s=0.0)

    assert first.rates is None
    assert second.rates is not None
    assert second.rates.outcomes["failed"] > 0
    assert {line.name for line in second.queues} == {"a", "b"}
    p50 = second.latencies["dispatch"].p50
    assert p50 is not None
    assert 0.0015 < p50.seconds <= 0.002
    worker, other = second.processes
    assert (worker.role, worker.busy, worker.free, worker.away) == ("worker", 1, 9, None)
    assert (other.target, bool(other.away)) == ("127.0.0.1:1", True)


async def test_a_port_that_serves_something_else_is_said_to_be_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = Target(host="127.0.0.1", port=mute.getsockname()[1])
        async with Lookout([target], patience_s=0.1) as lookout:
            (seen,) = await lookout.look()

    assert seen.away == "no answer in 0.1 s"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464"),
        ("http://worker-1:9464/metrics", "worker-1:9464"),
        ("[::1]:9464", "[::1]:9464"),
    ],
)
def test_targets_are_read_as_people_write_them(text: str, written: str) -> None:
    target = Target.parse(text)

    assert (str(target), target.url) == (written, f"http://{written}/metrics")


@pytest.mark.parametrize(
    "text", ["", "9464", "host:", "host:0", "host:70000", "https://h:1", "a b:1"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be like 127\.0\.0\.1:9464"):
        Target.parse(text)


def test_an_address_that_means_all_is_looked_for_here() -> None:
    assert str(Target.local("0.0.0.0", 9464)) == "127.0.0.1:9464"  # noqa: S104 - it is read
    assert str(Target.local("::", 9464)) == "[::1]:9464"


# Showing.


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_frame_fits_the_terminal_and_shows_all_parts(width: int) -> None:
    away = Glance(target="b:1", away="connection refused")

    text = shown(draw([glance(LEADER, LEADER), away], now_s=1001.0), width)

    assert max(map(len, text.splitlines())) <= width
    for part in ("1 of 2 targets", "! b:1 is away", "dispatch", "mail", "40", "3 of 10 busy"):
        assert part in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_name_is_shortened_and_no_figure_is(width: int) -> None:
    page = LEADER.replace("mail", "a" * 100).replace("} 40", "} 1234567")
    target = f"worker-0.{'b' * 100}:9464"

    text = shown(draw([glance(page, page, target)], now_s=1001.0), width)

    assert re.search(r"^ a{8,}… +1,234,567 +3 +2\.5 s ", text, re.MULTILINE)
    assert re.search(r"^ worker-0\.b+… +worker +3 of 10 busy +listening +leads", text, re.MULTILINE)


def test_many_queues_leave_room_for_the_rest() -> None:
    page = LEADER + "".join(
        f'signalstack_queue_depth{{queue="q{n}",status="pending"}} {n}\n' for n in range(1, 40)
    )

    text = shown(draw([glance(page)], now_s=1000.0), 120, 40)

    assert len(text.splitlines()) <= 40
    assert re.search(r"mail .* 40 ", text)
    assert re.search(r"and \d+ more", text)
    assert "a:1" in text
