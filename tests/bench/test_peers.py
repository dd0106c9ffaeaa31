"""`make bench-peers` through its front door: two builds of ours, and names that it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from bench.front import run_bench
from bench.peers.figures import Report

_ROOT: Final = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_another_build_is_measured_beside_this_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"

    ended = run_bench(
        "peers",
        "--quick", "--only", "signalstack", "--build", str(_ROOT), "--measure", "turns,drain",
        "--json", str(path),
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert not report.failed
    assert report.builds == {"build1": f"build 1: {_ROOT.name}"}
    for name in ("signalstack", "build1"):
        figures = report.figures[name]
        assert 0 < figures["turns.total.p50"].value <= figures["turns.total.p99"].value
        assert figures["drain.2"].value > 0
        assert 0 < figures["drain.2.cpu"].value < 5_000
    assert f"build 1: {_ROOT.name}" in ended.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--only", "signalstack,sidekiq"), "sidekiq: not one of signalstack, graphile"),
        (("--measure", "drain,weather"), "weather: not one of idle, steady, drain"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_there_are(
    options: tuple[str, str], told: str
) -> None:
    ended = run_bench("peers", *options)

    assert ended.returncode == 2
    assert told in ended.stderr


def test_a_checkout_without_an_environment_says_what_to_do(tmp_path: Path) -> None:
    ended = run_bench(
        "peers", "--only", "signalstack", "--build", str(tmp_path), "--measure", "turns"
    )

    assert ended.returncode == 1
    assert f"{tmp_path} has no environment: run `make setup` there" in ended.stderr
