"""What wakes the workers, and how well work is gathered: the lower half of the dispatch board."""

from __future__ import annotations

from typing import Final

from boards import link
from boards.panel import (
    JOBS_PER_S,
    NUMBER,
    PER_S,
    SECONDS,
    Graph,
    says,
)
from boards.query import Query
from boards.series import QUEUE_PROCESS, mean, quantile, rate
from boards.threshold import under

LATENCY: Final = "dispatch_latency_seconds"

WAKING: Final = (
    (
        Graph(
            9,
            "Jobs leased by wake cause",
            [Query(rate("claimed_jobs_total", by="wake"), "{{wake}}")],
            says(
                "What made a worker take the jobs that it ran, by a claim or handed over.",
                "notify and timer; backlog under load.",
                "poll: notifications get lost. rescue: workers die. retry: see the job types.",
            ),
            unit=JOBS_PER_S,
            stack="sum",
        ),
        Graph(
            10,
            "Share of each wake cause",
            [Query(rate("claimed_jobs_total", by="wake"), "{{wake}}")],
            says(
                "The same as shares of all.",
                "a share of poll near 0.",
                "a rising share of poll is how silently lost notifications show.",
            ),
            unit=JOBS_PER_S,
            stack="share",
            links=(link.board(link.POSTGRESQL), link.runbook("SignalStackPollShareHigh")),
        ),
        Graph(
            11,
            "Wake-ups of claimers",
            [Query(rate("wakeups_total", by="cause"), "{{cause}}")],
            says(
                "How often claimers woke, whether they found work or not.",
                "notify while jobs come in.",
                "no notify while jobs come in: the listener is deaf.",
            ),
            unit=PER_S,
        ),
    ),
    (
        Graph(
            12,
            "Latency by wake cause, p95",
            [Query(quantile(0.95, LATENCY, QUEUE_PROCESS, by="wake"), "{{wake}}")],
            says(
                "How late jobs start, by what woke the worker.",
                "notify and timer under the dashed line; backlog is as long as the backlog.",
                "notify slow: claim or event loop. timer slow: the event loop.",
            ),
            unit=SECONDS,
            steps=under(0.05),
            logarithmic=True,
        ),
        Graph(
            13,
            "Latency by queue, p95",
            [
                Query(
                    f"topk(10, {quantile(0.95, LATENCY, QUEUE_PROCESS, by='queue')})",
                    "{{queue}}",
                )
            ],
            says(
                "The ten slowest queues.",
                "no queue far above the others.",
                "one queue alone: it is limited, or its workers are busy with long jobs.",
            ),
            unit=SECONDS,
            steps=under(0.05),
            logarithmic=True,
            drills=(link.series(link.QUEUES, "queue"),),
        ),
    ),
)

BATCHES: Final = (
    (
        Graph(
            17,
            "Jobs handed over",
            [
                Query(rate("handovers_total", by="outcome"), "{{outcome}}"),
                Query(rate("claimed_jobs_total"), "all that were leased"),
            ],
            says(
                "Jobs that came alone to a worker at rest: leased when they were stored, so that"
                " nobody had to claim them.",
                "close to all that were leased, while there is little to do; none under load.",
                "any lost: a bell was not heard; their jobs started seconds late. None at rest:"
                " the queue has limits, or the worker hears nothing.",
            ),
            unit=JOBS_PER_S,
            links=(link.board(link.POSTGRESQL),),
        ),
    ),
    (
        Graph(
            14,
            "Claims",
            [Query(rate("claims_total", by="result"), "{{result}}")],
            says(
                "Claims that found work and that did not.",
                "few empty ones.",
                "mostly empty: more workers wake than the work needs.",
            ),
            unit=PER_S,
        ),
        Graph(
            15,
            "Jobs a claim, writes a flush",
            [
                Query(mean("claim_batch_size"), "jobs a claim"),
                Query(mean("flush_batch_size"), "writes a flush"),
            ],
            says(
                "How well work is gathered.",
                "about 1 when idle, tens to hundreds under load.",
                "1 under load: callers come one after the other, or each has its own process.",
            ),
            unit=NUMBER,
        ),
        Graph(
            16,
            "Event loop lag, p99",
            [Query(quantile(0.99, "event_loop_lag_seconds", by="instance"), "{{instance}}")],
            says(
                "How late a timer of the event loop fires.",
                "a few milliseconds.",
                "a handler blocks the loop (make it a plain function) or the CPU is too small.",
            ),
            unit=SECONDS,
            steps=under(0.1),
            drills=(link.series(link.WORKERS, "instance"),),
        ),
    ),
)
