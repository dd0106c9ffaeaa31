"""Token buckets: how many requests each name has left, refilled evenly, in bounded memory."""

from __future__ import annotations

from typing import Final

import msgspec

# Names beyond this many at once make the oldest forgotten, whose bucket then is full again.
NAMES_LIMIT: Final = 10_000
# Sums of fractions of a second are a little off; nobody should lose a token by that.
_ROUNDING: Final = 0.001


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests a second, and how many at once after a pause."""

    per_s: int
    burst: int

    @property
    def window_s(self) -> float:
        """How long an empty bucket takes to be full again."""
        return self.burst / self.per_s


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a token was taken, how many are left, and the seconds until more, and until all."""

    granted: bool
    left: int
    next_s: float
    full_s: float


class TokenBuckets:
    """One bucket a name.

    A bucket is one number, the time at which it will be full: what is full needs no memory.
    """

    def __init__(self, rate: Rate, *, limit: int = NAMES_LIMIT) -> None:
        self._rate = rate
        self._limit = limit
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str, now: float) -> Grant:
        """Take a token out of the name's bucket if there is one; `now` is any clock's, in s."""
        rate = self._rate
        full_s = max(self._full_at.get(name, now) - now, 0.0)
        tokens = rate.burst - full_s * rate.per_s + _ROUNDING
        granted = tokens >= 1
        if granted:
            tokens -= 1
            full_s += 1 / rate.per_s
            self._remember(name, now, now + full_s)
        return Grant(
            granted=granted,
            left=int(tokens),
            next_s=max(1 - tokens, 0.0) / rate.per_s,
            full_s=full_s,
        )

    def _remember(self, name: str, now: float, full_at: float) -> None:
        if name not in self._full_at and len(self._full_at) >= self._limit:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            if len(self._full_at) >= self._limit:
                del self._full_at[next(iter(self._full_at))]
        self._full_at[name] = full_at
