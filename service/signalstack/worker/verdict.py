"""What the end of a handler means for its job: pure rules from exception to outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from signalstack.core.handler import Fail, Retry
from signalstack.core.job import Outcome
from signalstack.core.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ERROR_LIMIT: Final = 2_000
_RETRY_LIMIT_S: Final = 86_400.0


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
    policy: RetryPolicy,
    rng: Callable[[], float],
) -> Verdict:
    """Decide what an exception that left a handler means.

    `Retry` and `Fail` count wherever they are raised, also inside the task groups of a handler.
    """
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, Fail):
            return Verdict(outcome=Outcome.FAILED, error=clip(leaf.reason))
    asked = next((leaf for leaf in leaves if isinstance(leaf, Retry)), None)
    text = clip(asked.reason if asked is not None else _describe(error, leaves))
    if attempt >= max_attempts:
        return Verdict(outcome=Outcome.FAILED, error=text)
    if asked is not None and asked.after_s is not None:
        delay_s = min(max(asked.after_s, 0.0), _RETRY_LIMIT_S)
    else:
        delay_s = backoff(attempt, base_s=policy.base_s, max_s=policy.max_s, rng=rng)
    return Verdict(outcome=Outcome.RETRIED, error=text, delay_s=delay_s)


def clip(text: str) -> str:
    """Make a text that PostgreSQL can keep: no NUL, no lone surrogate, bounded."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return clean if len(clean) <= ERROR_LIMIT else clean[: ERROR_LIMIT - 1] + "…"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _describe(error: BaseException, leaves: list[BaseException]) -> str:
    told = leaves if isinstance(error, BaseExceptionGroup) else [error]
    return "; ".join(f"{type(leaf).__name__}: {leaf}".removesuffix(": ") for leaf in told)
