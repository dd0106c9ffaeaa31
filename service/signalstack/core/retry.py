"""How long to wait before the next attempt: exponential backoff with full jitter.

After Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: jitter over the
whole range spreads a crowd of failures best. One change: no retry comes sooner than a tenth of
what it could have waited, since with few attempts an unlucky draw near zero is an attempt wasted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR: Final = 0.1
# 2^1000 is still a double; any base worth the name has met its maximum long before.
_MAX_DOUBLINGS: Final = 1_000


def backoff(attempt: int, *, base_s: float, max_s: float, rng: Callable[[], float]) -> float:
    """Choose the seconds to wait after a failed attempt.

    Args:
        attempt: the one that failed; 1 is the first.
        base_s: the most that the first retry waits.
        max_s: the most that any retry waits.
        rng: draws from [0, 1), such as `random.Random().random`.

    Returns:
        Between a tenth of, and the whole of, min(max_s, base_s * 2^(attempt - 1)).
    """
    ceiling = min(max_s, base_s * 2.0 ** min(max(attempt - 1, 0), _MAX_DOUBLINGS))
    return min(ceiling, ceiling * (FLOOR + (1 - FLOOR) * rng()))
