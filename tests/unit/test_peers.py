"""The arithmetic of `make bench-peers`: medians, who is best, ratios and targets."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from bench.peers.figures import (
    TARGETS,
    Found,
    Report,
    best,
    found,
    in_rounds,
    judge,
    quantile,
    ratio,
)
from bench.peers.install import version
from bench.peers.pace import share_of_slow
from bench.peers.roster import PEERS
from bench.peers.table import markdown_targets, show
from signalstack.bench.figure import Machine

_MEDIANS = {
    "signalstack": {"idle.total.p50": 2.0, "drain.1": 30_000.0, "grown.drain.1": 26_000.0},
    "graphile": {"idle.total.p50": 5.0, "drain.1": 14_000.0},
    "pgboss": {"idle.total.p50": 488.0, "drain.1": 25_000.0},
    "taskiq": {"idle.total.p50": 2.5},
    "taskiq-list": {"idle.total.p50": 1.6},
}


def _report(figures: dict[str, dict[str, Found]], *failed: str) -> Report:
    medians = {
        name: {figure: one.value for figure, one in of_peer.items()}
        for name, of_peer in figures.items()
    }
    return Report(
        at=datetime.now(UTC),
        seconds=1,
        quick=True,
        machine=Machine(cpus=2, platform="here", python="3", postgresql="18"),
        versions={peer.title: version(peer) for peer in PEERS},
        figures=figures,
        verdicts=judge(medians),
        failed=list(failed),
        slow_share=0.013,
    )


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert found([3.0, 1.0, 2.0]).value == 2.0


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert quantile(list(range(100, 0, -1)), share) == expected


def test_the_best_latency_is_the_least_and_the_best_rate_the_most() -> None:
    others = ("graphile", "pgboss")

    assert best(_MEDIANS, "idle.total.p50", others) == ("graphile", 5.0)
    assert best(_MEDIANS, "drain.1", others) == ("pgboss", 25_000.0)


def test_a_ratio_needs_both_sides() -> None:
    assert ratio(_MEDIANS, "idle.total.p50", ("graphile", "pgboss")) == 0.4
    assert ratio(_MEDIANS, "drain.1", ("taskiq",)) is None
    assert ratio({"graphile": {"drain.1": 1.0}}, "drain.1", ("graphile",)) is None
    unseen = {"signalstack": {"rest.cpu": 0.1}, "graphile": {"rest.cpu": 0.0}}
    assert ratio(unseen, "rest.cpu", ("graphile",)) is None


def test_targets_are_judged_where_both_sides_were_measured() -> None:
    verdicts = {verdict.target: verdict for verdict in judge(_MEDIANS)}

    assert {target: verdict.met for target, verdict in verdicts.items()} == {
        "idle: called → starts, p50 ≤ 0.5 times the best PostgreSQL peer": True,
        "idle: called → starts, p50 ≤ TaskIQ on Redis": False,
        "drain, 1 process ≥ 2 times graphile-worker": True,
        "drain, 1 process ≥ 1.3 times pg-boss": False,
        "grown tables: drain, 1 process ≥ 0.9 times empty ones": False,
    }
    told = verdicts["idle: called → starts, p50 ≤ TaskIQ on Redis"].reached
    assert told == "1.25 times (2.00 to 1.60, taskiq-list)"


def test_each_round_is_told_by_itself_and_where_both_sides_were_measured() -> None:
    figures = {
        "signalstack": {"idle.total.p50": found([2.0, 3.0, 1.0]), "rest.cpu": found([0.5, 0.7])},
        "taskiq-list": {"idle.total.p50": found([1.0, 2.0])},
    }
    of = {target.text: target for target in TARGETS}

    assert in_rounds(figures, of["idle: called → starts, p50 ≤ TaskIQ on Redis"]) == [2.0, 1.5]
    assert in_rounds(figures, of["at rest: CPU of a worker < 1 %"]) == [0.5, 0.7]
    assert in_rounds(figures, of["1,000 jobs/s: p99 < 10 ms"]) == []


def test_the_table_of_targets_tells_what_was_missed_and_each_round() -> None:
    figures = {
        "signalstack": {"drain.1": found([30_000.0, 40_000.0, 20_000.0])},
        "graphile": {"drain.1": found([20_000.0, 10_000.0, 20_000.0])},
    }

    (row,) = markdown_targets(_report(figures)).splitlines()[2:]

    assert row == (
        "| drain, 1 process ≥ 2 times graphile-worker | **missed**"
        " | 1.50 times (30,000 to 20,000, graphile) | 1.50 · 4.00 · 1.00 |"
    )


def test_the_table_has_a_row_a_figure_and_a_column_a_peer() -> None:
    figures = {
        name: {figure: found([value]) for figure, value in figures.items()}
        for name, figures in _MEDIANS.items()
    }
    report = _report(figures, "pgqueuer drain.1: did not start")
    written = StringIO()

    show(report, Console(file=written, width=200))

    lines = written.getvalue().splitlines()
    row, grown = (line for line in lines if "drain, 1 worker process" in line)
    assert row.split()[-4:] == ["30,000", "14,000", "25,000", "1.20"]
    assert grown.split()[0] == "grown"
    assert grown.split()[-1] == "26,000"
    assert "CPUs ran at less than a third of their pace for 1.3 % of the time" in lines
    assert any("missed" in line and "pg-boss" in line for line in lines)
    assert any("failed" in line and "pgqueuer" in line for line in lines)


def test_a_machine_that_stands_still_is_told_by_its_pace() -> None:
    steady, still = [100_000] * 50, [1_000_000] * 5  # 5 ms each

    assert share_of_slow(steady * 10) == 0
    assert share_of_slow(steady * 9 + still) == 0.1
    assert share_of_slow([]) == 0
