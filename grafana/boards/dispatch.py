"""Where the milliseconds go, from a write to the settled outcome, and what wakes the workers."""

from __future__ import annotations

from typing import Final

from boards import dispatch_wake, link, objective, variable
from boards.board import Board, Section
from boards.panel import (
    SECONDS,
    SHARE,
    Bars,
    Figure,
    Graph,
    HeatMap,
    says,
)
from boards.query import Query, percentiles
from boards.series import PROCESS, QUEUE_PROCESS, or_zero, quantile, rate, share
from boards.threshold import above, below

LATENCY: Final = "dispatch_latency_seconds"
UNPACED: Final = f"{QUEUE_PROCESS}, {objective.UNPACED}"
STARTS: Final = rate(f"{LATENCY}_count", QUEUE_PROCESS)

# Each stage with its histogram, the labels that it can be narrowed by, and what to do about it.
STAGES: Final = (
    (
        "flush",
        "flush_duration_seconds",
        PROCESS,
        "A group of writes is committed, with its notification.",
        "the disk under PostgreSQL's WAL is slow, or notifying commits queue up.",
    ),
    (
        "dispatch",
        LATENCY,
        UNPACED,
        "A due job waits until its handler starts: wake-up, claim and hand-over.",
        "look at claim, at the wake causes and at the free slots.",
    ),
    (
        "claim",
        "claim_duration_seconds",
        PROCESS,
        "A worker leases jobs; a part of dispatch.",
        "PostgreSQL is busy, or the live table is bloated: see its dead rows.",
    ),
    (
        "run",
        "job_duration_seconds",
        QUEUE_PROCESS,
        "Handlers at work: your code and what it calls.",
        "the job type dashboard shows which type; its traces show which call.",
    ),
    (
        "settle",
        "settle_duration_seconds",
        PROCESS,
        "A batch of outcomes is committed.",
        "the disk under PostgreSQL's WAL is slow, or rows are locked.",
    ),
    (
        "webhook",
        "webhook_duration_seconds",
        PROCESS,
        "One delivery, from connecting to the answer; a part of run.",
        "receivers are slow: see Webhooks and messages.",
    ),
)


def _stages(q: float) -> list[Query]:
    return [
        Query(quantile(q, metric, where, over="$__range"), name, instant=True)
        for name, metric, where, _, _ in STAGES
    ]


TOP: Final = (
    (
        Figure(
            1,
            "Latency, p50",
            quantile(0.5, LATENCY, UNPACED),
            says(
                "Half of the jobs start sooner after being due. Without messages, which wait by"
                " design (MESSAGE_INTERVAL).",
                "one or two milliseconds on a quiet service.",
                "compare the stages below.",
            ),
            unit=SECONDS,
            steps=below(0.01, 0.05),
        ),
        Figure(
            2,
            "Latency, p99",
            quantile(0.99, LATENCY, UNPACED),
            says(
                "One job in a hundred waits longer; without messages.",
                "below 50 ms.",
                "p99 alone is high: pauses, such as a blocked event loop or a slow disk; under"
                " backlog it is the wait for a slot, or for a limit of the queue.",
            ),
            unit=SECONDS,
            steps=below(0.05, 0.25),
        ),
        Figure(
            3,
            "Started within 50 ms",
            objective.dispatch_ratio("$__range", QUEUE_PROCESS),
            says(
                "Share of jobs in the range shown that started in time; without those that waited"
                " for a free slot.",
                "99 % or more; orange is close to the edge.",
                "see Latency by wake cause.",
            ),
            unit=SHARE,
            decimals=2,
            steps=above(objective.DISPATCH_TARGET, objective.DISPATCH_TARGET + 0.002),
            instant=True,
        ),
        Figure(
            4,
            "Found by polling",
            share(or_zero(rate(f"{LATENCY}_count", QUEUE_PROCESS, 'wake="poll"')), STARTS),
            says(
                "Share of starts that no notification announced.",
                "near 0.",
                "notifications get lost: see PostgreSQL and LISTEN.",
            ),
            unit=SHARE,
            steps=below(0.01, 0.05),
            links=(link.board(link.POSTGRESQL), link.runbook("SignalStackPollShareHigh")),
        ),
    ),
    (
        HeatMap(
            5,
            "Dispatch latency",
            rate(f"{LATENCY}_bucket", QUEUE_PROCESS, by="le"),
            says(
                "How many jobs a second started how late. Dots are traces: click one.",
                "one dark band near the bottom.",
                "a second band higher up has one cause: match its height to the wake causes (poll:"
                " POLL_INTERVAL, rescue: LEASE_SECONDS). A band that climbs is a backlog.",
            ),
        ),
    ),
)

SIDE_BY_SIDE: Final = (
    (
        Bars(
            6,
            "Stages, p50 of the range",
            _stages(0.5),
            says(
                "The median of each stage, side by side.",
                "run is the longest: then your own work is what takes time.",
                "start with the longest bar; its graph below says what to do.",
            ),
            steps=below(0.05, 0.25),
        ),
        Bars(
            7,
            "Stages, p99 of the range",
            _stages(0.99),
            says(
                "The slowest hundredth of each stage, side by side.",
                "flush, claim and settle within some ten milliseconds.",
                "start with the longest bar that is not run or webhook.",
            ),
            steps=below(0.05, 0.25),
        ),
        Graph(
            8,
            "Stages, p95",
            [Query(quantile(0.95, metric, where), name) for name, metric, where, _, _ in STAGES],
            says(
                "The same over time, on a logarithmic axis.",
                "level courses.",
                "stages that rise together share a cause, mostly PostgreSQL's disk or the CPU.",
            ),
            unit=SECONDS,
            logarithmic=True,
        ),
    ),
    *(
        tuple(
            Graph(
                20 + STAGES.index(stage),
                stage[0].capitalize(),
                percentiles(stage[1], stage[2]),
                says(
                    stage[3],
                    "level, and p99 not far above p95.",
                    stage[4],
                ),
                unit=SECONDS,
            )
            for stage in row
        )
        for row in (STAGES[:3], STAGES[3:])
    ),
)


BOARD: Final = Board(
    uid=link.DISPATCH,
    description="Where do the milliseconds go, and what wakes the workers?",
    variables=(variable.job, variable.instance, variable.queue),
    sections=(
        Section("", TOP),
        Section("Stages side by side", SIDE_BY_SIDE),
        Section("Wake causes", dispatch_wake.WAKING),
        Section("Batches and event loop", dispatch_wake.BATCHES),
    ),
)
