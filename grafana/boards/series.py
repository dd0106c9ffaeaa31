"""PromQL, put together from the names and labels of the service's metrics."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "signalstack_"
RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"

# Which series a panel reads. What the leader keeps for all (queues, database) knows no instance:
# to choose one would hide the figures whenever another process leads.
SHARED: Final = 'job=~"$job"'
PROCESS: Final = f'{SHARED}, instance=~"$instance"'
QUEUE: Final = 'queue=~"$queue"'
TYPE: Final = 'type=~"$type"'
QUEUE_SHARED: Final = f"{SHARED}, {QUEUE}"
QUEUE_PROCESS: Final = f"{PROCESS}, {QUEUE}"
TYPE_PROCESS: Final = f"{QUEUE_PROCESS}, {TYPE}"


def series(metric: str, where: str = PROCESS, *also: str) -> str:
    """Select the series of a metric of ours, named without the prefix."""
    return f"{PREFIX}{metric}{{{', '.join((where, *also))}}}"


def rate(metric: str, where: str = PROCESS, *also: str, by: str = "", over: str = RATE) -> str:
    """Sum what a counter gains in a second."""
    return f"{_sum(by)} (rate({series(metric, where, *also)}[{over}]))"


def gained(metric: str, where: str = PROCESS, *also: str, by: str = "", over: str = RANGE) -> str:
    """Sum what a counter has gained over a range; 0 where it does not exist yet."""
    total = f"{_sum(by)} (increase({series(metric, where, *also)}[{over}]))"
    return total if by else or_zero(total)


def quantile(
    q: float, metric: str, where: str = PROCESS, *also: str, by: str = "", over: str = RATE
) -> str:
    """Estimate a quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({q}, {rate(f'{metric}_bucket', where, *also, by=labels, over=over)})"
    )


def mean(metric: str, where: str = PROCESS, *also: str, by: str = "", over: str = RATE) -> str:
    """Divide the sum of a histogram by its count."""
    return share(
        rate(f"{metric}_sum", where, *also, by=by, over=over),
        rate(f"{metric}_count", where, *also, by=by, over=over),
    )


def share(part: str, whole: str) -> str:
    """Divide; nothing, and not NaN, where the whole is 0."""
    return f"({part} / ({whole} > 0))"


def or_zero(expression: str) -> str:
    """Take no series for 0: a counter whose labels callers choose begins with its first event."""
    # In parentheses, since any other operator beside it would bind tighter than `or`.
    return f"({expression} or vector(0))"


def or_none(count: str, told: str) -> str:
    """Take no series for 0 while anybody tells the metric that is counted; else it is a dash."""
    return f"({count} or (0 * count({told})))"


def summed(metric: str, where: str = PROCESS, *also: str, by: str = "") -> str:
    """Sum a gauge over processes."""
    return f"{_sum(by)} ({series(metric, where, *also)})"


def highest(metric: str, where: str = SHARED, *also: str, by: str = "") -> str:
    """Take the highest: while the leader changes, two processes may show the same figure."""
    return f"max{f' by ({by})' if by else ''} ({series(metric, where, *also)})"


def depth(status: str) -> str:
    """Count the jobs of each queue in one status."""
    return highest("queue_depth", QUEUE_SHARED, f'status="{status}"', by="queue")


def of_queue(metric: str) -> str:
    """Read one of the leader's figures of each queue."""
    return highest(metric, QUEUE_SHARED, by="queue")


def of_process(metric: str) -> str:
    """Read a figure of prometheus_client's own collector, whose names have no prefix."""
    return f"{metric}{{{PROCESS}}}"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
