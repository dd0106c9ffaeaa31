"""Which parts run: the lower half of the overview."""

from __future__ import annotations

from typing import Final

from boards import link
from boards.panel import NUMBER, PER_S, SECONDS, SHARE, Figure, Graph, says
from boards.query import Query
from boards.series import (
    PROCESS,
    SHARED,
    or_none,
    or_zero,
    quantile,
    rate,
    series,
    share,
)
from boards.threshold import above, below, exactly_one, under

PARTS: Final = (
    (
        Figure(
            14,
            "Processes that answer",
            f"avg(up{{{SHARED}}})",
            says(
                "Share of the targets that Prometheus can scrape.",
                "100 %.",
                "a process is gone or stands still: see Prometheus' target page and its log.",
            ),
            unit=SHARE,
            steps=above(0.5, 1),
            links=(link.runbook("SignalStackTargetDown"),),
        ),
        Figure(
            15,
            "Deaf listeners",
            or_none(f"count({series('listener_up')} == 0)", series("listener_up")),
            says(
                "Processes that hear no notifications and find work by polling only.",
                "0.",
                "run `signalstack doctor` against LISTEN_DATABASE_URL.",
            ),
            steps=under(1),
            links=(link.board(link.POSTGRESQL),),
        ),
        Figure(
            16,
            "Leaders",
            or_zero(f"sum({series('maintenance_leader', SHARED)})"),
            says(
                "Processes that do maintenance: schedules, rescue, retention, these gauges.",
                "1. For some seconds after a change 0 or 2.",
                "0 for a minute: no worker runs, or PostgreSQL is away.",
            ),
            steps=exactly_one(),
            links=(link.board(link.WORKERS), link.runbook("SignalStackLeaderMissing")),
        ),
        Figure(
            17,
            "Found by polling",
            share(
                or_zero(rate("dispatch_latency_seconds_count", PROCESS, 'wake="poll"')),
                rate("dispatch_latency_seconds_count"),
            ),
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
        Graph(
            18,
            "HTTP requests by status",
            [Query(rate("http_request_duration_seconds_count", by="status"), "{{status}}")],
            says(
                "Answers a second.",
                "2xx, and few 4xx.",
                "429: a key is over its rate. 401: a key was revoked or mistyped. 5xx: ours.",
            ),
            unit=PER_S,
            stack="sum",
        ),
        Graph(
            19,
            "HTTP latency, p99 by route",
            [
                Query(
                    f"topk(8, {quantile(0.99, 'http_request_duration_seconds', by='route')})",
                    "{{route}}",
                )
            ],
            says(
                "The slowest routes. Waits that the client asked for (wait=N, streams) are in it.",
                "some milliseconds; POST is one commit.",
                "all routes slow: PostgreSQL or the CPU. One route: its queries.",
            ),
            unit=SECONDS,
        ),
        Graph(
            20,
            "Versions that run",
            [
                Query(
                    f"count by (version, role) ({series('build_info')})",
                    "{{role}} {{version}}",
                )
            ],
            says(
                "Processes by role and version.",
                "one version.",
                "two versions for long: a roll-out is stuck.",
            ),
            unit=NUMBER,
            stack="sum",
        ),
    ),
)
