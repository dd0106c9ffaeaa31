"""What an exception that left a handler means for its job."""

from __future__ import annotations

from typing import Any, cast

import pytest

from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.job import Outcome
from signalstack.core.reason import ERROR_LIMIT, clip
from signalstack.worker.verdict import POSTPONE_LIMIT_S, RetryPolicy, Verdict, judge


def _judge(
    error: BaseException, *, attempt: int = 1, max_attempts: int = 3, postponed_s: float = 0.0
) -> Verdict:
    return judge(
        error,
        attempt=attempt,
        max_attempts=max_attempts,
        postponed_s=postponed_s,
        policy=RetryPolicy(base_s=1.0, max_s=60.0),
        rng=lambda: 1.0,
    )


class _Unreadable(Exception):  # noqa: N818 - it is about its text
    def __str__(self) -> str:
        raise ValueError("no text")


class _Careless(Fail):
    def __init__(self) -> None:  # pyright: ignore[reportMissingSuperCall] - what is tested
        pass


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_any_exception_is_retried_and_in_the_end_fails(error: BaseException) -> None:
    retried = _judge(error)
    assert retried.outcome is Outcome.RETRIED
    assert retried.delay_s == 1.0
    assert type(error).__name__ in (retried.error or "")
    failed = _judge(error, attempt=3)
    assert failed.outcome is Outcome.FAILED
    assert failed.error == retried.error


def test_backoff_doubles_with_each_attempt() -> None:
    assert [_judge(RuntimeError(), attempt=n, max_attempts=9).delay_s for n in (1, 2, 3, 4)] == [
        1.0,
        2.0,
        4.0,
        8.0,
    ]


def test_fail_ends_the_job_whatever_attempts_are_left() -> None:
    assert _judge(Fail("no such customer")) == Verdict(
        outcome=Outcome.FAILED, error="no such customer"
    )


def test_retry_says_when() -> None:
    assert _judge(Retry("busy", after_s=7)) == Verdict(
        outcome=Outcome.RETRIED, error="busy", delay_s=7.0
    )


def test_retry_without_a_time_takes_the_usual_backoff() -> None:
    assert _judge(Retry("busy"), attempt=2).delay_s == 2.0


def test_retry_on_the_last_attempt_fails() -> None:
    assert _judge(Retry("busy", after_s=7), attempt=3) == Verdict(
        outcome=Outcome.FAILED, error="busy"
    )


@pytest.mark.parametrize(
    ("after_s", "delay_s"),
    [(-5, 0.0), (1e9, 86_400.0), (float("inf"), 86_400.0), (10**400, 86_400.0)],
    ids=["past", "far", "infinite", "huge"],
)
def test_the_time_of_a_retry_is_bounded(after_s: float, delay_s: float) -> None:
    assert _judge(Retry(after_s=after_s)).delay_s == delay_s


@pytest.mark.parametrize("after_s", [float("nan"), "5", object()])
def test_a_retry_after_something_that_is_no_time_takes_the_usual_backoff(after_s: Any) -> None:
    assert _judge(Retry(after_s=after_s)).delay_s == 1.0


def test_fail_and_retry_count_inside_groups() -> None:
    inner = BaseExceptionGroup("inner", [ValueError("side effect"), Retry("busy", after_s=4)])
    assert _judge(ExceptionGroup("outer", [KeyError("x"), cast("Exception", inner)])) == Verdict(
        outcome=Outcome.RETRIED, error="busy", delay_s=4.0
    )
    never: Exception = ExceptionGroup("inner", [Fail("never")])
    both = ExceptionGroup("outer", [Retry("busy"), never])
    assert _judge(both).error == "never"


def test_a_group_tells_all_its_leaves_in_order() -> None:
    group = ExceptionGroup(
        "outer", [ValueError("one"), ExceptionGroup("i", [KeyError("two")]), OSError("three")]
    )
    assert _judge(group).error == "ValueError: one; KeyError: 'two'; OSError: three"


def test_groups_nested_deeper_than_the_stack_are_read() -> None:
    error: Exception = Fail("at the bottom")
    for _ in range(5_000):
        error = cast("Exception", ExceptionGroup("again", [error]))
    assert _judge(error).error == "at the bottom"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (_Unreadable(), "_Unreadable: (its text cannot be read)"),
        (Fail(cast("str", ValueError("an exception as reason"))), "an exception as reason"),
        (Fail(cast("str", _Unreadable())), "(its text cannot be read)"),
        (Retry(cast("str", None)), "None"),
        (_Careless(), ""),
    ],
)
def test_no_exception_can_break_its_judge(error: Exception, text: str) -> None:
    assert _judge(error).error == text


def test_texts_are_made_to_fit_postgresql() -> None:
    assert clip("a\x00b\ud800c") == "a\ufffdb?c"
    assert len(clip("x" * 100_000)) == ERROR_LIMIT


@pytest.mark.parametrize("attempt", [1, 3])
def test_postponed_work_comes_again_later_whatever_attempts_are_left(attempt: int) -> None:
    verdict = _judge(Postpone("not now", after_s=7.5), attempt=attempt)
    assert verdict == Verdict(outcome=Outcome.POSTPONED, error="not now", delay_s=7.5)


@pytest.mark.parametrize(
    ("after_s", "delay_s"),
    [(0, 0.01), (-5, 0.01), (1e9, 86_400.0), (float("nan"), 0.01), ("soon", 0.01)],
)
def test_time_that_work_is_put_off_for_is_bounded(after_s: Any, delay_s: float) -> None:
    assert _judge(Postpone(after_s=after_s)).delay_s == delay_s


def test_postponing_for_longer_than_a_week_uses_attempts_up() -> None:
    asked = Postpone("not now", after_s=7.5)
    again = Verdict(outcome=Outcome.RETRIED, error="not now", delay_s=7.5)
    assert _judge(asked, postponed_s=POSTPONE_LIMIT_S) == again
    last = _judge(asked, attempt=3, postponed_s=POSTPONE_LIMIT_S)
    assert last.outcome is Outcome.FAILED


def test_failing_wins_over_postponing_in_a_group() -> None:
    group = ExceptionGroup("both", [Postpone(after_s=1), Fail("no")])
    assert _judge(group).outcome is Outcome.FAILED
