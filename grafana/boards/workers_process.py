"""Processes and maintenance: the lower half of the workers board."""

from __future__ import annotations

from typing import Final

from boards import link
from boards.panel import BYTES, CORES, PER_S, SECONDS, SHARE, Graph, says
from boards.query import Query
from boards.series import SHARED, of_process, or_zero, quantile, rate
from boards.threshold import under

MACHINE: Final = (
    (
        Graph(
            11,
            "CPU",
            [
                Query(
                    f"rate({of_process('process_cpu_seconds_total')}[$__rate_interval])",
                    "{{instance}}",
                )
            ],
            says(
                "Cores that each process uses.",
                "below 1: a process is one event loop.",
                "at 1 the loop is full: add processes, not slots.",
            ),
            unit=CORES,
            steps=under(0.9),
        ),
        Graph(
            12,
            "Memory",
            [Query(of_process("process_resident_memory_bytes"), "{{instance}}")],
            says(
                "Resident memory of each process.",
                "level.",
                "climbs for hours: a handler keeps what it made; restart, then look for it.",
            ),
            unit=BYTES,
        ),
        Graph(
            13,
            "Open files",
            [
                Query(
                    f"{of_process('process_open_fds')} / {of_process('process_max_fds')}",
                    "{{instance}}",
                )
            ],
            says(
                "Share of the file descriptors that a process may open.",
                "below 50 %.",
                "raise the limit, or find who does not close connections.",
            ),
            unit=SHARE,
            steps=under(0.8),
            top=1,
        ),
        Graph(
            14,
            "Event loop lag, p99",
            [Query(quantile(0.99, "event_loop_lag_seconds", by="instance"), "{{instance}}")],
            says(
                "How late a timer of the event loop fires.",
                "a few milliseconds.",
                "a handler blocks the loop: make it a plain function, then it runs in a thread.",
            ),
            unit=SECONDS,
            steps=under(0.1),
            links=(link.runbook("SignalStackEventLoopBlocked"),),
        ),
    ),
)

CHORES: Final = (
    (
        Graph(
            15,
            "Chores, p95",
            [Query(quantile(0.95, "chore_duration_seconds", SHARED, by="chore"), "{{chore}}")],
            says(
                "How long each chore of the leader takes.",
                "well below a second.",
                "one is slow: its statement on PostgreSQL and LISTEN; mostly bloat.",
            ),
            unit=SECONDS,
        ),
        Graph(
            16,
            "Chores that failed",
            [
                Query(
                    or_zero(rate("chore_duration_seconds_count", SHARED, 'outcome="failed"')),
                    "failed",
                )
            ],
            says(
                "Runs of chores that ended with an error; they are tried again.",
                "0.",
                "the leader's log says why.",
            ),
            unit=PER_S,
            links=(link.runbook("SignalStackChoresFailing"),),
        ),
        Graph(
            17,
            "Removed by retention",
            [Query(rate("retention_removed_total", SHARED, by="table, how"), "{{table}}, {{how}}")],
            says(
                "What is old enough is removed: whole partitions, else rows.",
                "some every day.",
                "nothing for days while tables grow: the chore fails, or RETENTION_… is unset.",
            ),
            unit=PER_S,
        ),
    ),
)
