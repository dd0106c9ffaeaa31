"""One job type: how much of it there is, how long it runs, how it ends."""

from __future__ import annotations

from typing import Final

from boards import link, variable
from boards.board import Board, Section
from boards.panel import JOBS_PER_S, SECONDS, SHARE, Figure, Graph, HeatMap, says
from boards.query import Query, percentiles
from boards.series import QUEUE_PROCESS, TYPE_PROCESS, mean, or_zero, quantile, rate, share
from boards.threshold import below, under

RUNS: Final = "job_duration_seconds"
FINISHED: Final = rate("jobs_finished_total", TYPE_PROCESS)
FAILED: Final = or_zero(rate("jobs_finished_total", TYPE_PROCESS, 'outcome="failed"'))
RETRIED: Final = or_zero(rate("job_retries_total", TYPE_PROCESS))
STARTED: Final = rate(f"{RUNS}_count", TYPE_PROCESS)
FAILING: Final = (link.runbook("SignalStackJobsFailing"),)
STORM: Final = (link.runbook("SignalStackRetryStorm"),)

TOP: Final = (
    (
        Figure(
            1,
            "Runs",
            or_zero(STARTED),
            says(
                "Runs that ended, a second; retries count each time.",
                "what you expect.",
                "0 while jobs wait: see the Queues dashboard.",
            ),
            unit=JOBS_PER_S,
            links=(link.board(link.QUEUES),),
        ),
        Figure(
            2,
            "Run, p95",
            quantile(0.95, RUNS, TYPE_PROCESS),
            says(
                "How long its handler runs.",
                "well below the jobs' timeout.",
                "near the timeout: what it calls is slow, or the timeout is too short.",
            ),
            unit=SECONDS,
        ),
        Figure(
            3,
            "Failed, of finished",
            share(FAILED, FINISHED),
            says(
                "Share that failed for good.",
                "near 0.",
                "GET /v1/jobs?type=…&status=failed has their last_error; POST …/retry tries again.",
            ),
            unit=SHARE,
            steps=below(0.01, 0.05),
            links=FAILING,
        ),
        Figure(
            4,
            "Retried, of runs",
            share(RETRIED, STARTED),
            says(
                "Share of runs that will be tried again.",
                "near 0.",
                "what it calls is down or refuses: GET /v1/jobs/{id}/attempts has each error.",
            ),
            unit=SHARE,
            steps=below(0.1, 0.5),
            links=STORM,
        ),
    ),
    (
        HeatMap(
            5,
            "How long runs take",
            rate(f"{RUNS}_bucket", TYPE_PROCESS, by="le"),
            says(
                "How many runs a second took how long. Dots are traces: click one.",
                "one band.",
                "two bands are two kinds of work, or a fast failure; a band at the timeout hangs.",
            ),
        ),
        Graph(
            6,
            "Runs by outcome",
            [Query(rate(f"{RUNS}_count", TYPE_PROCESS, by="outcome"), "{{outcome}}")],
            says(
                "How runs end.",
                "succeeded.",
                "released: handed back at a shutdown. lost: its worker died or lost its lease.",
            ),
            unit=JOBS_PER_S,
            stack="sum",
            links=FAILING,
        ),
    ),
)

DETAIL: Final = (
    (
        Graph(
            7,
            "In and out",
            [
                Query(or_zero(rate("jobs_enqueued_total", TYPE_PROCESS)), "enqueued"),
                Query(or_zero(FINISHED), "finished"),
            ],
            says(
                "Jobs committed, and jobs that reached their outcome.",
                "they follow each other.",
                "enqueued above finished for long: more slots, or a faster handler.",
            ),
            unit=JOBS_PER_S,
        ),
        Graph(
            8,
            "Run",
            percentiles(RUNS, TYPE_PROCESS),
            says(
                "How long its handler runs.",
                "level.",
                "a dot is a trace: it shows which call took the time.",
            ),
            unit=SECONDS,
        ),
        Graph(
            9,
            "Failed and retried",
            [
                Query(share(FAILED, FINISHED), "failed, of finished"),
                Query(share(RETRIED, STARTED), "retried, of runs"),
            ],
            says(
                "Shares that went wrong.",
                "near 0.",
                "retried first and failed later: it has been down for longer than the attempts.",
            ),
            unit=SHARE,
            steps=under(0.05),
            links=STORM,
        ),
    ),
    (
        Graph(
            10,
            "Mean run, by outcome",
            [Query(mean(RUNS, TYPE_PROCESS, by="outcome"), "{{outcome}}")],
            says(
                "How long runs take that end so.",
                "failures are not slower than successes.",
                "retried at the timeout: the other side never answers.",
            ),
            unit=SECONDS,
        ),
        Graph(
            11,
            "Runs, by queue",
            [Query(rate(f"{RUNS}_count", TYPE_PROCESS, by="queue"), "{{queue}}")],
            says(
                "Which queues carry this type.",
                "what you expect.",
                "long jobs among short ones: give them a queue and workers of their own.",
            ),
            unit=JOBS_PER_S,
            drills=(link.series(link.DISPATCH, "queue"),),
        ),
        Graph(
            12,
            "Latency of its queues, p95",
            [
                Query(
                    f"{quantile(0.95, 'dispatch_latency_seconds', QUEUE_PROCESS, by='queue')}"
                    f" and on (queue) {rate(f'{RUNS}_count', TYPE_PROCESS, by='queue')}",
                    "{{queue}}",
                )
            ],
            says(
                "How late jobs of its queues start, whatever their type.",
                "under the dashed line.",
                "long runs of this type may hold the slots that others wait for.",
            ),
            unit=SECONDS,
            steps=under(0.05),
            links=(link.board(link.DISPATCH),),
        ),
    ),
)

BOARD: Final = Board(
    uid=link.JOB_TYPE,
    description="One job type: how much, how long, and how does it end?",
    variables=(variable.job, variable.instance, variable.queue, variable.kind),
    sections=(Section("", TOP), Section("In detail", DETAIL)),
)
