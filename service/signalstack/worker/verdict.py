"""What the end of a handler means for its job: pure rules from exception to outcome."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Final, cast

import msgspec

from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.job import Outcome
from signalstack.core.reason import clip, describe, text_of
from signalstack.core.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RETRY_LIMIT_S: Final = 86_400.0
# A handler that puts its job off at once and for ever would keep a slot busy with nothing.
_POSTPONE_LEAST_S: Final = 0.01
POSTPONE_LIMIT_S: Final = 7 * 86_400.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long failed runs wait: full-jitter backoff between these, in seconds."""

    base_s: float
    max_s: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and after how long the next one comes where there is one."""

    outcome: Outcome
    error: str | None = None
    delay_s: float = 0.0


def judge(
    error: BaseException,
    *,
    attempt: int,
    max_attempts: int,
    postponed_s: float = 0.0,
    policy: RetryPolicy,
    rng: Callable[[], float],
) -> Verdict:
    """Decide what an exception that left a handler means.

    `Fail`, `Retry` and `Postpone` count wherever they are raised, also inside the task groups of a
    handler. `postponed_s` is how long ago the job was first put off: after a week it may not be any
    more, and what a handler goes on putting off runs out of attempts.
    Nothing that a handler put into its exception makes this raise: it would end the worker, and
    then the next one that takes the job.
    """
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, Fail):
            return Verdict(outcome=Outcome.FAILED, error=clip(_reason(leaf)))
    asked = next((leaf for leaf in leaves if isinstance(leaf, Retry | Postpone)), None)
    if isinstance(asked, Postpone) and postponed_s < POSTPONE_LIMIT_S:
        delay_s = max(_asked_s(asked) or 0.0, _POSTPONE_LEAST_S)
        return Verdict(outcome=Outcome.POSTPONED, error=clip(_reason(asked)), delay_s=delay_s)
    text = clip(_reason(asked) if asked is not None else _describe(error, leaves))
    if attempt >= max_attempts:
        return Verdict(outcome=Outcome.FAILED, error=text)
    delay_s = None if asked is None else _asked_s(asked)
    if delay_s is None:
        delay_s = backoff(attempt, base_s=policy.base_s, max_s=policy.max_s, rng=rng)
    return Verdict(outcome=Outcome.RETRIED, error=text, delay_s=delay_s)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    left = [error]
    while left:
        found = left.pop()
        if isinstance(found, BaseExceptionGroup):
            left.extend(reversed(cast("BaseExceptionGroup[BaseException]", found).exceptions))
        else:
            yield found


def _describe(error: BaseException, leaves: list[BaseException]) -> str:
    told = leaves if isinstance(error, BaseExceptionGroup) else [error]
    return "; ".join(map(describe, told))


def _reason(asked: Fail | Retry | Postpone) -> str:
    # A subclass need not have called our __init__, and nothing checks what a reason is.
    return text_of(getattr(asked, "reason", asked))


def _asked_s(asked: Retry | Postpone) -> float | None:
    """Read how long a handler wants to wait; None when it is no number."""
    after_s: object = getattr(asked, "after_s", None)
    if not isinstance(after_s, int | float):
        return None
    bounded = min(max(after_s, 0.0), _RETRY_LIMIT_S)
    return None if isnan(bounded) else float(bounded)
