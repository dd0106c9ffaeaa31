"""Durations as people write them: `500ms`, `5s`, `1.5h`, `7d`."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Read a duration in seconds.

    Raises:
        ValueError: a number without a unit, or anything else; the message is a sentence.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text[:40]!r} is no duration: write a number and ms, s, m, h or d, like 5s"
        )
    number, unit = match.groups()
    # Milliseconds are divided: 0.001 has no exact double, and 500ms should be exactly 0.5.
    return float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]


def format_duration(seconds: float) -> str:
    """Write a duration in the largest unit that needs no fraction: `90s`, `2m`, `250ms`.

    Raises:
        ValueError: a negative or non-finite duration.
    """
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{seconds} is no duration")
    for unit in ("h", "m", "s"):
        count, rest = divmod(seconds, _SECONDS[unit])
        if rest == 0 and (count or unit == "s"):
            return f"{count:.0f}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
