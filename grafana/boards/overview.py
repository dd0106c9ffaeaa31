"""The first dashboard to open: is the promise kept, and if not, which part to look at."""

from __future__ import annotations

from typing import Final

from boards import link, objective, overview_parts, variable
from boards.board import Board, Section
from boards.panel import JOBS_PER_S, PER_S, SECONDS, SHARE, Figure, Graph, says
from boards.query import Query, percentiles
from boards.series import (
    PROCESS,
    SHARED,
    highest,
    or_zero,
    quantile,
    rate,
    share,
)
from boards.threshold import above, below, under

DISPATCH_WINDOW: Final = objective.dispatch_ratio(objective.WINDOW)
HTTP_WINDOW: Final = objective.http_ratio(objective.WINDOW)
BUDGET: Final = above(0, 0.25)
BURNING: Final = link.runbook("SignalStackDispatchBudgetBurningFast")
FAILING: Final = (link.runbook("SignalStackApiErrors"),)
FINISHED: Final = rate("jobs_finished_total")
FAILED: Final = or_zero(rate("jobs_finished_total", PROCESS, 'outcome="failed"'))

PROMISE: Final = (
    (
        Figure(
            1,
            "Started within 50 ms",
            DISPATCH_WINDOW,
            says(
                "Share of jobs that started within 50 ms of being due, over the budget window."
                " Jobs that waited for a slot or their queue are not counted: see Oldest due job.",
                "99 % or more; orange is close to the edge.",
                "see Burn rate for since when, then the Dispatch dashboard for which stage.",
            ),
            unit=SHARE,
            decimals=3,
            steps=above(objective.DISPATCH_TARGET, objective.DISPATCH_TARGET + 0.002),
            instant=True,
            links=(link.board(link.DISPATCH), BURNING),
        ),
        Figure(
            2,
            "Dispatch budget left",
            objective.budget_left(DISPATCH_WINDOW, objective.DISPATCH_TARGET),
            says(
                "What is left of the 1 % of late starts that the window allows.",
                "above 25 %; 100 % is untouched, below 0 % the objective is missed.",
                "hold back risky changes until it grows again, and work on what spends it.",
            ),
            unit=SHARE,
            decimals=1,
            steps=BUDGET,
            instant=True,
            links=(link.board(link.DISPATCH), BURNING),
        ),
        Figure(
            3,
            "HTTP answered without 5xx",
            HTTP_WINDOW,
            says(
                "Share of requests that were not answered with a 5xx, over the budget window.",
                "99.9 % or more; orange is close to the edge.",
                "503 means that PostgreSQL was away: see that dashboard. 500 is a bug: look for"
                " its request_id in the log.",
            ),
            unit=SHARE,
            decimals=3,
            steps=above(objective.HTTP_TARGET, objective.HTTP_TARGET + 0.0002),
            instant=True,
            links=(link.board(link.POSTGRESQL), *FAILING),
        ),
        Figure(
            4,
            "HTTP budget left",
            objective.budget_left(HTTP_WINDOW, objective.HTTP_TARGET),
            says(
                "What is left of the 0.1 % of failing requests that the window allows.",
                "above 25 %; 100 % is untouched, below 0 % the objective is missed.",
                "hold back risky changes until it grows again, and work on what spends it.",
            ),
            unit=SHARE,
            decimals=1,
            steps=BUDGET,
            instant=True,
            links=FAILING,
        ),
    ),
    (
        Figure(
            5,
            "Alerts firing",
            or_zero('count(ALERTS{alertstate="firing", alertname=~"SignalStack.*"})'),
            says(
                "Alerts of SignalStack that fire now; their times are the red marks in the graphs.",
                "0.",
                "open the alert's runbook: the menu above leads to their list.",
            ),
            steps=under(1),
        ),
        Figure(
            6,
            "Dispatch latency, p99",
            quantile(0.99, "dispatch_latency_seconds", PROCESS, objective.DISPATCH_WAKES),
            says(
                "From a job being due to its handler starting; one job in a hundred waits longer.",
                "below 50 ms; a quiet service has a few milliseconds.",
                "the Dispatch dashboard shows which stage takes the time.",
            ),
            unit=SECONDS,
            steps=below(0.05, 0.25),
            links=(link.board(link.DISPATCH),),
        ),
        Figure(
            7,
            "Oldest due job",
            highest("queue_oldest_seconds", SHARED, objective.UNPACED),
            says(
                "Age of the oldest job that is due and has not started, over all queues but that of"
                " messages, which wait by design.",
                "below a few seconds, or what you allow a backlog to take.",
                "the Queues dashboard shows which queue, and whether it is limited or"
                " without workers.",
            ),
            unit=SECONDS,
            steps=below(10, 60),
            links=(link.board(link.QUEUES),),
        ),
        Figure(
            8,
            "Jobs finished",
            or_zero(FINISHED),
            says(
                "Jobs that reached their one outcome, a second.",
                "about as many as are enqueued.",
                "compare with Throughput below: falling behind means too few slots.",
            ),
            unit=JOBS_PER_S,
        ),
    ),
)

COURSES: Final = (
    (
        Graph(
            9,
            "Dispatch latency",
            percentiles("dispatch_latency_seconds", PROCESS, objective.DISPATCH_WAKES),
            says(
                "From due to started, but for waits for a slot or the queue. Dots are traces.",
                "p99 under the dashed line, 50 ms.",
                "open a dot's trace, or the Dispatch dashboard.",
            ),
            unit=SECONDS,
            steps=under(0.05),
            links=(link.board(link.DISPATCH),),
        ),
        Graph(
            10,
            "Throughput",
            [
                Query(rate("events_received_total", PROCESS, 'outcome="accepted"'), "events"),
                Query(or_zero(rate("jobs_enqueued_total")), "enqueued"),
                Query(or_zero(FINISHED), "finished"),
                Query(FAILED, "failed"),
            ],
            says(
                "What comes in and what is done.",
                "finished follows enqueued, failed is near 0.",
                "enqueued above finished for long: the backlog grows, add workers.",
            ),
            unit=PER_S,
            links=(link.board(link.QUEUES),),
        ),
    ),
    (
        Graph(
            11,
            "Burn rate",
            [
                Query(
                    objective.burn_rate(objective.dispatch_ratio("1h"), objective.DISPATCH_TARGET),
                    "dispatch, 1 h",
                ),
                Query(
                    objective.burn_rate(objective.http_ratio("1h"), objective.HTTP_TARGET),
                    "HTTP, 1 h",
                ),
            ],
            says(
                "How many times faster than allowed the error budget is spent.",
                "below 1. At 1 a window's budget lasts exactly the window.",
                "at 14.4 a month's budget is gone in two days: somebody is paged.",
            ),
            steps=below(1, 14.4),
            links=(BURNING, link.runbook("SignalStackDispatchBudgetBurningSlowly"), *FAILING),
        ),
        Graph(
            12,
            "Jobs in the live table",
            [
                Query(
                    f"sum by (status) ({highest('queue_depth', by='queue, status')})", "{{status}}"
                )
            ],
            says(
                "Waiting and running jobs of all queues.",
                "pending near 0; scheduled may be any number.",
                "pending grows: see the Queues dashboard for whose.",
            ),
            links=(link.board(link.QUEUES),),
        ),
        Graph(
            13,
            "Failed and retried",
            [
                Query(share(FAILED, FINISHED), "failed, of finished"),
                Query(
                    share(or_zero(rate("job_retries_total")), rate("job_duration_seconds_count")),
                    "retried, of runs",
                ),
            ],
            says(
                "Shares of finished jobs that failed, and of runs that will be tried again.",
                "near 0.",
                "one type alone: what it calls is down. All types: the network, or a release.",
            ),
            unit=SHARE,
            steps=under(0.05),
            links=(link.board(link.JOB_TYPE),),
        ),
    ),
)


BOARD: Final = Board(
    uid=link.OVERVIEW,
    description="Is the promise kept, and if not, where to look next?",
    variables=(variable.job, variable.instance, variable.window),
    sections=(
        Section("", PROMISE),
        Section("Now", COURSES),
        Section("Parts", overview_parts.PARTS),
    ),
    since="now-6h",
)
