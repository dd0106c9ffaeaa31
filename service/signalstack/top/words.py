"""How numbers are written where there is little room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signalstack.top.quantile import Quantile

NOTHING: Final = "-"
_SIGNS: Final = {"about": "", "at most": "≤ ", "above": "> "}
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_ALMOST_ONE: Final = 0.995  # what two decimals would write as 1.00
_TEN: Final = 10.0
_HUNDRED: Final = 100.0
_MEBIBYTE: Final = 1_048_576.0


def write_rate(per_s: float | None) -> str:
    """Write how often something happens in a second."""
    if per_s is None:
        return NOTHING
    if per_s == 0:
        return "0"
    if per_s >= _HUNDRED:
        return f"{per_s:,.0f}"
    return f"{per_s:.1f}" if per_s >= _ALMOST_ONE else f"{per_s:.2f}"


def write_seconds(seconds: float | None) -> str:
    """Write a span of time with two or three figures: `0.95 ms`, `12 ms`, `4.2 s`, `3m 20s`."""
    if seconds is None:
        return NOTHING
    if seconds >= _HOUR_S:
        return f"{seconds // _HOUR_S:.0f}h {seconds % _HOUR_S // _MINUTE_S:.0f}m"
    if seconds > _MINUTE_S:
        return f"{seconds // _MINUTE_S:.0f}m {seconds % _MINUTE_S:.0f}s"
    if seconds >= 1:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    milliseconds = seconds * 1_000
    if milliseconds >= _HUNDRED:
        return f"{milliseconds:.0f} ms"
    return (f"{milliseconds:.1f}" if milliseconds >= _TEN else f"{milliseconds:.2g}") + " ms"


def write_quantile(quantile: Quantile | None) -> str:
    """Write a quantile; `≤` and `>` where the buckets say no more than that."""
    if quantile is None:
        return NOTHING
    return _SIGNS[quantile.bound] + write_seconds(quantile.seconds)


def write_count(count: float | None) -> str:
    """Write a number of things."""
    return NOTHING if count is None else f"{count:,.0f}"


def write_memory(size: float | None) -> str:
    """Write bytes as mebibytes."""
    return NOTHING if size is None else f"{size / _MEBIBYTE:,.0f} MiB"
