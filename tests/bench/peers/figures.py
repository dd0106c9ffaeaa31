"""Owns the arithmetic: medians of rounds, the best of the others, ratios, and the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Final, TypeAlias

import msgspec

from bench.peers.roster import OURS, PEERS, Server
from signalstack.bench.figure import Machine, Verdict

Values: TypeAlias = Mapping[str, float]
"""What one measurement found: `rate` a second, or quantiles in milliseconds."""

Medians: TypeAlias = Mapping[str, Mapping[str, float]]
"""By peer, then by figure."""

POSTGRESQL: Final = tuple(
    peer.name for peer in PEERS if peer.server is Server.POSTGRESQL and peer.name != OURS
)
TASKIQ: Final = tuple(peer.name for peer in PEERS if peer.server is Server.REDIS)

GROWN: Final = "grown."
"""Before what was measured in tables with a history and jobs of the future."""

_TITLES: Final = {
    "idle.post.p50": "idle: enqueue returned → handler starts, p50 ms",
    "idle.post.p99": "idle: enqueue returned → handler starts, p99 ms",
    "idle.total.p50": "idle: enqueue called → handler starts, p50 ms",
    "idle.total.p99": "idle: enqueue called → handler starts, p99 ms",
    "turns.total.p50": "idle, builds in turns: enqueue called → handler starts, p50 ms",
    "turns.total.p99": "idle, builds in turns: enqueue called → handler starts, p99 ms",
    "turns.call.p50": "idle, builds in turns: enqueue called → returned, p50 ms",
    "herd.total.p50": "idle, 8 worker processes: called → starts, p50 ms",
    "steady.p50": "200 jobs/s: enqueue called → handler starts, p50 ms",
    "steady.p99": "200 jobs/s: enqueue called → handler starts, p99 ms",
    "busy.p50": "1,000 jobs/s: enqueue called → handler starts, p50 ms",
    "busy.p99": "1,000 jobs/s: enqueue called → handler starts, p99 ms",
    "rest.cpu": "one worker at rest, CPU %",
    "rest.transactions": "one worker at rest, transactions/s",
    "rest.leader": "one worker at rest that leads the maintenance, transactions/s",
    "drain.1": "drain, 1 worker process, jobs/s",
    "drain.2": "drain, 2 worker processes, jobs/s",
    "drain.1.cpu": "drain, 1 worker process: CPU of it and of the server, µs a job",
    "drain.2.cpu": "drain, 2 worker processes: CPU of them and of the server, µs a job",
    "create.1": "create, 1 caller, jobs/s",
    "create.batch": "create, 1 caller, 1,000 a call, jobs/s",
    "create.64": "create, 64 callers, 1 worker running, jobs/s",
    "http.jobs": "POST /v1/jobs, 64 connections, 1/s",
    "http.live": "GET /live, 64 connections, 1/s",
    "http.batch": "POST /v1/jobs/batch of 100, jobs/s",
}
TITLES: Final = _TITLES | {GROWN + key: f"grown tables: {title}" for key, title in _TITLES.items()}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one peer: the median of its rounds."""

    value: float
    runs: list[float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `slow_share` is how much of the time a busy CPU stood nearly still, by pace.py.

    `builds` has the titles of other builds of ours by name.
    """

    at: datetime
    seconds: float
    quick: bool
    machine: Machine
    versions: dict[str, str]
    builds: dict[str, str] = {}
    figures: dict[str, dict[str, Found]]
    verdicts: list[Verdict]
    failed: list[str]
    slow_share: float


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised of a figure of ours: a bound on it, or on its ratio to the best of others.

    Against `OURS` the ratio is to another figure of our own.
    """

    text: str
    figure: str
    bound: float
    at_most: bool = False
    against: tuple[str, ...] = ()
    to: str | None = None


def _drains(processes: int) -> tuple[Target, ...]:
    name = f"drain.{processes}"
    suffix = f", {processes} process{'es' if processes > 1 else ''}"
    return (
        Target(
            text=f"drain{suffix} ≥ 2 times graphile-worker",
            figure=name,
            bound=2,
            against=("graphile",),
        ),
        Target(
            text=f"drain{suffix} ≥ 1.3 times pg-boss", figure=name, bound=1.3, against=("pgboss",)
        ),
        Target(
            text=f"grown tables: drain{suffix} ≥ 0.9 times empty ones",
            figure=GROWN + name,
            bound=0.9,
            against=(OURS,),
            to=name,
        ),
    )


TARGETS: Final = (
    Target(
        text="idle: returned → starts, p50 ≤ 0.45 times the best PostgreSQL peer",
        figure="idle.post.p50",
        bound=0.45,
        at_most=True,
        against=POSTGRESQL,
    ),
    Target(
        text="idle: returned → starts, p99 ≤ 0.5 times the best PostgreSQL peer",
        figure="idle.post.p99",
        bound=0.5,
        at_most=True,
        against=POSTGRESQL,
    ),
    Target(
        text="idle: called → starts, p50 ≤ 0.5 times the best PostgreSQL peer",
        figure="idle.total.p50",
        bound=0.5,
        at_most=True,
        against=POSTGRESQL,
    ),
    Target(
        text="idle: called → starts, p50 ≤ TaskIQ on Redis",
        figure="idle.total.p50",
        bound=1,
        at_most=True,
        against=TASKIQ,
    ),
    Target(
        text="200 jobs/s: p99 ≤ 0.3 times the best PostgreSQL peer",
        figure="steady.p99",
        bound=0.3,
        at_most=True,
        against=POSTGRESQL,
    ),
    Target(text="1,000 jobs/s: p99 < 10 ms", figure="busy.p99", bound=10, at_most=True),
    Target(text="at rest: CPU of a worker < 1 %", figure="rest.cpu", bound=1, at_most=True),
    Target(
        text="at rest: transactions of a worker < 1 a second",
        figure="rest.transactions",
        bound=1,
        at_most=True,
    ),
    *_drains(1),
    *_drains(2),
    Target(
        text="64 callers: creates ≥ 8 times the best PostgreSQL peer",
        figure="create.64",
        bound=8,
        against=POSTGRESQL,
    ),
    Target(
        text="POST /v1/jobs ≥ 0.7 times a trivial route",
        figure="http.jobs",
        bound=0.7,
        against=(OURS,),
        to="http.live",
    ),
    Target(text="POST /v1/jobs/batch of 100 ≥ 30,000 jobs/s", figure="http.batch", bound=30_000),
    Target(
        text="8 listening workers: idle called → starts, p50 ≤ 1.3 times one",
        figure="herd.total.p50",
        bound=1.3,
        at_most=True,
        against=(OURS,),
        to="idle.total.p50",
    ),
)


def quantile(values: Sequence[float], share: float) -> float:
    """Take the smallest value that at least this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(-(-int(share * 1_000) * len(ordered) // 1_000) - 1, 0)]


def lower_is_better(figure: str) -> bool:
    """Tell latencies and costs from rates."""
    return figure.endswith((".p50", ".p99", ".cpu", ".transactions", ".leader"))


def write(value: float, figure: str) -> str:
    """Write a figure: latencies and costs by hundredths, rates whole."""
    return f"{value:.2f}" if lower_is_better(figure) else f"{value:,.0f}"


def found(runs: Sequence[float]) -> Found:
    """Make a figure of the rounds that there were."""
    return Found(value=median(runs), runs=list(runs))


def best(medians: Medians, figure: str, among: Sequence[str]) -> tuple[str, float] | None:
    """Tell who of these does best, and how well; None where nobody was measured."""
    values = [(name, medians[name][figure]) for name in among if figure in medians.get(name, {})]
    if not values:
        return None
    choose = min if lower_is_better(figure) else max
    return choose(values, key=lambda pair: pair[1])


def ratio(medians: Medians, figure: str, among: Sequence[str]) -> float | None:
    """Tell our figure as a multiple of the best of these."""
    ours, other = medians.get(OURS, {}).get(figure), best(medians, figure, among)
    if ours is None or other is None or not other[1]:  # a cost may be below what can be seen
        return None
    return ours / other[1]


def judge(medians: Medians) -> list[Verdict]:
    """Hold our figures against the targets; what was not measured is not judged."""
    return [verdict for target in TARGETS if (verdict := _judge(medians, target)) is not None]


def in_rounds(figures: Mapping[str, Mapping[str, Found]], target: Target) -> list[float]:
    """Tell what was reached in each round by itself, as `reach` does; the median is of figures."""
    reached: list[float] = []
    for number in range(max((len(found.runs) for found in figures[OURS].values()), default=0)):
        of_round = {
            name: {
                figure: found.runs[number]
                for figure, found in of_peer.items()
                if number < len(found.runs)
            }
            for name, of_peer in figures.items()
        }
        if (one := reach(of_round, target)) is not None:
            reached.append(one[0])
    return reached


def reach(medians: Medians, target: Target) -> tuple[float, tuple[str, float] | None] | None:
    """Tell what a target is about: our figure or its ratio, and to whom and what that is.

    None where either was not measured.
    """
    ours = medians.get(OURS, {}).get(target.figure)
    if ours is None or not target.against:
        return None if ours is None else (ours, None)
    other = best(medians, target.to or target.figure, target.against)
    return None if other is None or not other[1] else (ours / other[1], other)


def _judge(medians: Medians, target: Target) -> Verdict | None:
    if (reached := reach(medians, target)) is None:
        return None
    value, other = reached
    told = write(value, target.figure)
    if other is not None:
        sides = (write(side, target.figure) for side in (medians[OURS][target.figure], other[1]))
        told = f"{value:.2f} times ({' to '.join(sides)}, {other[0]})"
    met = value <= target.bound if target.at_most else value >= target.bound
    return Verdict(target=target.text, reached=told, met=met)
