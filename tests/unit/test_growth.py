"""The arithmetic of `make bench-growth`, and what `make plots` makes of its report."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.growth.figures import Claims, Point, Report, empty_per_job, knee, merge, point
from bench.growth.plan import Plan
from bench.growth.table import TITLES, markdown, show
from bench.peers.measures import SLOTS
from bench.plots.page import between, with_growth
from bench.plots.pictures import Chart, of_growth, short
from signalstack.bench.figure import BenchError, Machine

_PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def _rates(*rates: float) -> list[Point]:
    return [point(10**number, [{"drain.rate": rate}]) for number, rate in enumerate(rates)]


def _report(**axes: list[Point]) -> Report:
    return Report(
        version="1",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        quick=False,
        machine=Machine(cpus=2, platform="here", python="3", postgresql="18"),
        seconds=dict.fromkeys(axes, 60.0),
        axes=axes,
        failed=[],
    )


def test_a_point_has_the_median_of_the_rounds_that_measured_a_figure() -> None:
    figures = point(1, [{"drain.rate": 3}, {"drain.rate": 1}, {"steady.p50": 2}]).figures

    assert {name: figure.value for name, figure in figures.items()} == {
        "drain.rate": 2,
        "steady.p50": 2,
    }


def test_empty_claims_are_those_since_before_over_all_processes() -> None:
    before = [Claims(empty=5, jobs=0), Claims(empty=0, jobs=10)]
    after = [Claims(empty=25, jobs=4), Claims(empty=10, jobs=26)]

    assert empty_per_job(before, after) == 30 / 20
    with pytest.raises(BenchError, match="no job"):
        empty_per_job(after, after)


def test_a_knee_is_where_a_rate_halves_or_a_latency_doubles() -> None:
    slower = [point(x, [{"steady.p99": p99}]) for x, p99 in ((0, 2.0), (5, 3.9), (9, 4.0))]

    assert knee(_rates(100, 51, 50, 10), "drain.rate") == 100
    assert knee(_rates(100, 51, 400), "drain.rate") is None
    assert knee(slower, "steady.p99") == 9
    assert knee(slower, "drain.rate") is None


def test_runs_of_an_axis_each_make_one_report() -> None:
    merged = merge([_report(backlog=_rates(1), workers=_rates(2)), _report(workers=_rates(3))])

    assert merged.axes == {"backlog": _rates(1), "workers": _rates(3)}


def test_a_window_has_room_in_the_file_of_stamps() -> None:
    plan = Plan()

    assert plan.window_s * plan.rate <= SLOTS
    assert plan.size.backlog // 50 <= SLOTS


def test_a_table_says_when_the_transaction_was_over() -> None:
    points = [point(x, [{"steady.p50": 2}], held=0 < x < 60) for x in (0, 30, 60)]
    written = StringIO()

    show(_report(horizon=points), Console(file=written, width=120))

    assert "60 (it has ended)" in written.getvalue()
    assert markdown("horizon", points).splitlines()[2:] == [
        "| 0 | 2.00 |",
        "| 30 | 2.00 |",
        "| 60 (it has ended) | 2.00 |",
        "| twice as bad from | never |",
    ]


def test_the_page_has_a_place_for_each_axis_and_keeps_the_others() -> None:
    page = _PAGE.read_text()

    for axis in TITLES:
        written = with_growth(page, _report(**{axis: _rates(30_000)}))
        assert f"![{TITLES[axis]}](figures/growth-{axis}.svg)" in written
        assert "| 1 | 30,000 |" in written
        assert with_growth(written, _report(**{axis: _rates(30_000)})) == written
        part = f"growth {axis}"
        assert between(written, part, "") == between(page, part, "")
    with pytest.raises(ValueError, match="no marks"):
        between(page, "nothing", "")


def test_a_picture_has_a_chart_a_group_of_figures() -> None:
    held = point(30, [{"steady.p50": 2, "steady.p99": 9}], held=True)
    horizon, workers = of_growth(_report(horizon=[held], workers=_rates(9, 8)))

    (latency,) = horizon.charts
    assert isinstance(latency, Chart)
    assert [line.name for line in latency.lines] == ["p50", "p99"]
    assert latency.shaded == (0, 30)
    assert [chart.title for chart in workers.charts] == ["drained jobs/s"]
    assert [short(x) for x in (0, 100, 10_000, 5e6)] == ["0", "100", "10 k", "5 M"]
