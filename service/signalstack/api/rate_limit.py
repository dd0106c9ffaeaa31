"""The rate limit of a key, held by each API process for itself, and the headers that tell of it.

The headers are those of draft-ietf-httpapi-ratelimit-headers: a policy named `default`.
"""

from __future__ import annotations

from math import ceil
from time import monotonic
from typing import TYPE_CHECKING

from signalstack.core.errors import RateLimitedError
from signalstack.core.token_bucket import TokenBuckets

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.core.token_bucket import Rate


class RateLimit:
    """Lets each key make so many requests a second."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = monotonic) -> None:
        self._buckets = TokenBuckets(rate)
        self._clock = clock
        policy = f'"default";q={rate.burst};w={ceil(rate.window_s)}'
        self._policy = (b"ratelimit-policy", policy.encode("ascii"))

    def spend(self, key_id: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Count a request of the key's, and add what is left to the headers of its answer.

        Raises:
            RateLimitedError: nothing is left.
        """
        grant = self._buckets.take(key_id, self._clock())
        left = f'"default";r={grant.left};t={ceil(grant.full_s)}'
        headers += (self._policy, (b"ratelimit", left.encode("ascii")))
        if not grant.granted:
            raise RateLimitedError(retry_after_s=max(ceil(grant.next_s), 1))
