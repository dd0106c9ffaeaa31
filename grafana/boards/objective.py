"""The two service level objectives, as the dashboards and the recording rules measure them."""

from __future__ import annotations

from typing import Final

from boards.series import PROCESS, SHARED, or_zero, series, share

WINDOW: Final = "$window"

# What waited for a free slot, or for its queue, is left out: the age of queues tells of it.
# What was found late by polling or after a rescue counts: that is the service's own doing.
DISPATCH_TARGET: Final = 0.99
DISPATCH_BOUND: Final = "0.05"  # seconds; a boundary of the histogram
DISPATCH_WAKES: Final = 'wake!="backlog"'
# Where waiting of any kind shows: messages wait by design, their pace is MESSAGE_INTERVAL.
UNPACED: Final = 'queue!="messages"'

HTTP_TARGET: Final = 0.999
HTTP_BAD: Final = 'status=~"5.."'
HTTP_ASKED: Final = 'route!~".*/(ready|health|live)"'  # probes are not users


def dispatch_ratio(over: str, where: str = SHARED, *also: str) -> str:
    """Give the share of jobs that started in time."""
    good = series(
        "dispatch_latency_seconds_bucket",
        where,
        *also,
        DISPATCH_WAKES,
        f'le="{DISPATCH_BOUND}"',
    )
    whole = series("dispatch_latency_seconds_count", where, *also, DISPATCH_WAKES)
    return share(_rate(good, over), _rate(whole, over))


def http_ratio(over: str, where: str = SHARED) -> str:
    """Give the share of requests that were not answered with a 5xx."""
    metric = "http_request_duration_seconds_count"
    # From the bad ones: without a single good one there would be no series to divide.
    bad = _rate(series(metric, where, HTTP_ASKED, HTTP_BAD), over)
    return f"(1 - {share(or_zero(bad), _rate(series(metric, where, HTTP_ASKED), over))})"


def budget_left(ratio: str, target: float) -> str:
    """Give the share of the error budget that is left: 1 untouched, 0 spent, below 0 overdrawn."""
    return f"1 - (1 - {ratio}) / {_budget(target)}"


def burn_rate(ratio: str, target: float) -> str:
    """Give how many times faster than allowed the budget is spent."""
    return f"(1 - {ratio}) / {_budget(target)}"


def in_time(where: str = PROCESS, *also: str) -> str:
    """Give the share of jobs that started in time over the range that is shown."""
    return dispatch_ratio("$__range", where, *also)


def _rate(counter: str, over: str) -> str:
    return f"sum(rate({counter}[{over}]))"


def _budget(target: float) -> str:
    return f"{1 - target:.6g}"
