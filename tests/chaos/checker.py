"""What must hold after a chaos run, whatever was done to the system; one letter a promise."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from chaos.ledger import Span, Told
    from chaos.stack import Stack

_SHOWN: Final = 5
_OK_STATUSES: Final = frozenset({200, 201, 202, 204, 404, 409, 503})


async def check(stack: Stack, told: Told, spans: list[Span]) -> list[str]:
    """Return every violation as a sentence; none is what a run is for."""
    violations = _check_answers(told)
    violations += await _check_durability(stack, told)
    violations += await _check_outcomes(stack)
    violations += await _check_runs(stack, spans)
    violations += await _check_handled(stack, spans)
    violations += await _check_analytics(stack)
    violations += await _check_ticks(stack)
    return violations


def _check_answers(told: Told) -> list[str]:
    found: list[str] = []
    for status, count in told.statuses.items():
        if status not in _OK_STATUSES:
            found.append(f"B: {count} answers were {status}; 503 is the only 5xx there may be")
    found += [f"D: key {key} came back with another job" for key in told.replayed_as_another]
    found += [f"T: job {job} was shown to another tenant" for job in told.seen_of_others]
    return found


async def _check_durability(stack: Stack, told: Told) -> list[str]:
    rows = await stack.rows(
        "SELECT id::text AS id, 'live' AS status FROM signalstack.jobs"
        " UNION ALL SELECT id::text, status FROM signalstack.finished_jobs"
    )
    kept = {row["id"]: row["status"] for row in rows}
    lost = [job for job in told.acknowledged if job not in kept]
    found = [f"D: {len(lost)} acknowledged jobs do not exist: {lost[:_SHOWN]}"] if lost else []
    live = [job for job in told.acknowledged if kept.get(job) == "live"]
    if live:
        found.append(f"D: {len(live)} acknowledged jobs never ended: {live[:_SHOWN]}")
    undone = [job for job in told.cancelled if kept.get(job) not in {"cancelled", None}]
    if undone:
        found.append(f"C: {len(undone)} cancelled jobs ended otherwise: {undone[:_SHOWN]}")
    return found


async def _check_outcomes(stack: Stack) -> list[str]:
    both = await stack.rows(
        "SELECT id FROM signalstack.jobs INNER JOIN signalstack.finished_jobs USING (user_id, id)"
    )
    twice = await stack.rows(
        "SELECT id FROM signalstack.finished_jobs GROUP BY user_id, id HAVING count(*) > 1"
    )
    over = await stack.rows("SELECT id FROM signalstack.finished_jobs WHERE attempt > max_attempts")
    return (
        [f"C: job {row['id']} is live and finished" for row in both[:_SHOWN]]
        + [f"C: job {row['id']} ended more than once" for row in twice[:_SHOWN]]
        + [f"C: job {row['id']} ran more often than it may" for row in over[:_SHOWN]]
    )


async def _check_runs(stack: Stack, spans: list[Span]) -> list[str]:
    """Each attempt begins once; runs overlap only where the earlier one was lost by its worker."""
    rows = await stack.rows(
        "SELECT job_id::text AS job, attempt FROM signalstack.attempts WHERE outcome = 'lost'"
    )
    lost = {(row["job"], row["attempt"]) for row in rows}
    found: list[str] = []
    of_job: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        of_job[span.job].append(span)
    for job, runs in of_job.items():
        for nth, run in enumerate(runs):
            for later in runs[nth + 1 :]:
                if _crashed_between(stack, run, later):
                    continue
                if later.attempt == run.attempt:
                    found.append(f"L: an attempt of job {job} began twice: {run}, {later}")
                elif _overlap(run, later) and (job, run.attempt) not in lost:
                    found.append(f"L: runs overlap though no lease had ended: {run}, {later}")
    return found


def _overlap(run: Span, later: Span) -> bool:
    return run.end is not None and later.start < run.end


def _crashed_between(stack: Stack, run: Span, later: Span) -> bool:
    """Tell whether PostgreSQL was down since the claim of a run, which that may have undone."""
    return any(run.start - 1 <= end and start <= later.start for start, end in stack.crashes)


async def _check_handled(stack: Stack, spans: list[Span]) -> list[str]:
    """Nothing succeeds that no handler saw to its end."""
    seen = {span.job for span in spans}
    rows = await stack.rows(
        "SELECT id::text AS id FROM signalstack.finished_jobs"
        " WHERE status = 'succeeded' AND type = 'chaos'"
    )
    unseen = [row["id"] for row in rows if row["id"] not in seen]
    return [f"L: {len(unseen)} jobs succeeded unseen: {unseen[:_SHOWN]}"] if unseen else []


async def _check_analytics(stack: Stack) -> list[str]:
    (told,) = await stack.rows(_TOLD)
    (counted,) = await stack.rows(_COUNTED)
    return [
        f"C: analytics tell {told[name]} {name}, and there are {counted[name]}"
        for name in counted
        if _number(told[name]) != _number(counted[name])
    ]


def _number(value: Any) -> int:
    return int(value or 0)


_COLUMNS: Final = ("jobs_created", "jobs_succeeded", "jobs_failed", "jobs_cancelled")
_TOLD: Final = (
    "SELECT "  # noqa: S608 - our own columns
    + ", ".join(f"sum({name}) AS {name}" for name in _COLUMNS)
    + " FROM (SELECT "
    + ", ".join(_COLUMNS)
    + " FROM signalstack.metrics_delta UNION ALL SELECT "
    + ", ".join(_COLUMNS)
    + " FROM signalstack.metrics_hourly) AS all_counts"
)
_COUNTED: Final = """
    SELECT
        count(*) AS jobs_created,
        count(*) FILTER (WHERE status = 'succeeded') AS jobs_succeeded,
        count(*) FILTER (WHERE status = 'failed') AS jobs_failed,
        count(*) FILTER (WHERE status = 'cancelled') AS jobs_cancelled
    FROM (
        SELECT 'live' AS status FROM signalstack.jobs
        UNION ALL
        SELECT status FROM signalstack.finished_jobs
    ) AS every_job
"""


async def _check_ticks(stack: Stack) -> list[str]:
    """A tick makes one job at most, whoever took it and however often."""
    rows = await stack.rows(
        "SELECT payload ->> 'tick' AS tick, count(*) AS n FROM signalstack.finished_jobs"
        " WHERE payload ? 'tick' GROUP BY 1 HAVING count(*) > 1"
    )
    return [f"K: tick {row['tick']} made {row['n']} jobs" for row in rows]


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of all lie; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def by_status(told: Told) -> Counter[int]:
    """Count the answers by status."""
    return told.statuses
