"""What was measured: figures, the floors beside them, and whether a target was reached."""

from __future__ import annotations

from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from signalstack.core.errors import SignalStackError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MS: Final = 1e6  # nanoseconds


class BenchError(SignalStackError):
    """Something could not be measured; the message says what went wrong."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a latency (`value` is its p50) or a rate (`value` is the median of `runs`).

    `floor` names the figure that is the least this one could be, measured in the same run;
    figures that are nothing but floors have none.
    """

    name: str
    title: str
    unit: Literal["ms", "1/s"]
    value: float
    p95: float | None = None
    p99: float | None = None
    count: int | None = None
    runs: list[float] = []
    floor: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A target, what was reached, and whether that is enough."""

    target: str
    reached: str
    met: bool


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    cpus: int
    platform: str
    python: str
    postgresql: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the bench."""

    version: str
    at: datetime
    seconds: float
    quick: bool
    machine: Machine
    figures: list[Figure]
    verdicts: list[Verdict]


def latency(
    name: str, title: str, durations_ns: Sequence[int], *, floor: str | None = None
) -> Figure:
    """Make a figure of single durations, in nanoseconds."""
    if not durations_ns:
        raise BenchError(f"nothing was measured for {name}")
    ordered = sorted(durations_ns)
    return Figure(
        name=name,
        title=title,
        unit="ms",
        value=_quantile(ordered, 0.50) / _MS,
        p95=_quantile(ordered, 0.95) / _MS,
        p99=_quantile(ordered, 0.99) / _MS,
        count=len(ordered),
        floor=floor,
    )


def rate(name: str, title: str, runs: Sequence[float], *, floor: str | None = None) -> Figure:
    """Make a figure of the rates, per second, that the rounds of a measurement reached."""
    if not runs:
        raise BenchError(f"nothing was measured for {name}")
    return Figure(
        name=name, title=title, unit="1/s", value=median(runs), runs=list(runs), floor=floor
    )


def judge(figures: Sequence[Figure]) -> list[Verdict]:
    """Hold the figures against their targets; what was not measured is not judged."""
    at = {figure.name: figure.value for figure in figures}
    judges = (
        *(_judge_start, _judge_drain, _judge_callers, _judge_wait, _judge_page, _judge_queues),
        *(_judge_metrics, _judge_traces),
    )
    return [verdict for judged in judges if (verdict := judged(at)) is not None]


def _judge_start(at: Mapping[str, float]) -> Verdict | None:
    return _at_most(
        at,
        "idle.commit_to_start",
        3,
        "idle.notify",
        "idle: commit → handler start, p50 ≤ 3 times a bare NOTIFY round trip",
    )


def _judge_drain(at: Mapping[str, float]) -> Verdict | None:
    if "drain.1" not in at:
        return None
    return Verdict(
        target="drain with one worker process ≥ 15,000 jobs/s",
        reached=f"{at['drain.1']:,.0f} jobs/s",
        met=at["drain.1"] >= 15_000,  # noqa: PLR2004 - said in the lines above
    )


def _judge_callers(at: Mapping[str, float]) -> Verdict | None:
    if not {"enqueue.64", "enqueue.64.floor"} <= at.keys():
        return None
    ratio = at["enqueue.64"] / at["enqueue.64.floor"]
    return Verdict(
        target="64 concurrent callers ≥ 3 times one transaction per insert",
        reached=f"{ratio:.2f} times",
        met=ratio >= 3,  # noqa: PLR2004 - said in the lines above
    )


def _judge_wait(at: Mapping[str, float]) -> Verdict | None:
    if not {"wait.waited", "wait.create", "wait.dispatch"} <= at.keys():
        return None
    added, dispatch = at["wait.waited"] - at["wait.create"], at["wait.dispatch"]
    return Verdict(
        target="Prefer: wait on a no-op job adds ≤ 1 time what starting one takes, p50",
        reached=f"{added / dispatch:.2f} times ({added:.2f} ms to {dispatch:.2f} ms)",
        met=added <= dispatch,
    )


def _judge_page(at: Mapping[str, float]) -> Verdict | None:
    target = "a page deep in a long list ≤ 2 times its first page, p50"
    return _at_most(at, "lists.deep", 2, "lists.first", target)


def _judge_queues(at: Mapping[str, float]) -> Verdict | None:
    target = "the queues with a long history ≤ 2 times without one, p50"
    return _at_most(at, "lists.queues", 2, "lists.queues.new", target)


def _judge_metrics(at: Mapping[str, float]) -> Verdict | None:
    target = "drain with metrics ≥ 90 % of without"
    return _at_least(at, "telemetry.metrics", 90, "telemetry.off", target)


def _judge_traces(at: Mapping[str, float]) -> Verdict | None:
    target = "drain with traces of 1 % ≥ 85 % of without metrics and traces"
    return _at_least(at, "telemetry.traces", 85, "telemetry.off", target)


def _at_least(
    at: Mapping[str, float], name: str, percent: int, other: str, target: str
) -> Verdict | None:
    if not {name, other} <= at.keys():
        return None
    share = 100 * at[name] / at[other]
    return Verdict(
        target=target,
        reached=f"{share:.0f} % ({at[name]:,.0f} to {at[other]:,.0f} jobs/s)",
        met=share >= percent,
    )


def _at_most(
    at: Mapping[str, float], name: str, times: int, other: str, target: str
) -> Verdict | None:
    if not {name, other} <= at.keys():
        return None
    return Verdict(
        target=target,
        reached=f"{at[name] / at[other]:.2f} times ({at[name]:.2f} ms to {at[other]:.2f} ms)",
        met=at[name] <= times * at[other],
    )


def _quantile(ordered: Sequence[int], share: float) -> float:
    """Take the smallest value that at least this share of all does not exceed (nearest rank)."""
    return ordered[max(-(-int(share * 1_000) * len(ordered) // 1_000) - 1, 0)]
