"""`make bench-growth` through its front door: an axis, its report, and a name that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from bench.front import run_bench
from bench.growth.figures import Report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_quick_run_of_one_axis_reports_windows_with_and_without_the_transaction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.json"

    ended = run_bench("growth", "--quick", "--only", "horizon", "--json", str(path))

    assert ended.returncode == 0, ended.stderr
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert [point.held for point in report.axes["horizon"]] == [False, True, True, False]
    for point in report.axes["horizon"]:
        assert 0 < point.figures["steady.p50"].value <= point.figures["steady.p99"].value
    assert "seconds since a transaction began" in ended.stdout


def test_an_unknown_axis_is_refused_with_those_that_there_are() -> None:
    ended = run_bench("growth", "--only", "workers,weather")

    assert ended.returncode == 2
    assert "weather: not one of backlog, history" in ended.stderr
