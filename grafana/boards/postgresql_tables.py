"""Statements and tables: the lower half of the PostgreSQL board."""

from __future__ import annotations

from typing import Final

from boards import link
from boards.panel import BYTES, NUMBER, PER_S, S_PER_S, SECONDS, Figure, Graph, says
from boards.query import Query
from boards.series import highest, quantile, rate
from boards.threshold import under

QUERIES: Final = "db_query_duration_seconds"

STATEMENTS: Final = (
    (
        Graph(
            13,
            "Statements, p95",
            [Query(f"topk(8, {quantile(0.95, QUERIES, by='query')})", "{{query}}")],
            says(
                "The slowest statements, as seen from here, by their file in sql/queries.",
                "a few milliseconds.",
                "one alone: EXPLAIN it. All: the network, the disk or the CPU of PostgreSQL.",
            ),
            unit=SECONDS,
            logarithmic=True,
        ),
        Graph(
            14,
            "Time spent in statements",
            [Query(f"topk(8, {rate(f'{QUERIES}_sum', by='query')})", "{{query}}")],
            says(
                "Seconds of waiting a second: what a statement costs in all.",
                "settling and claiming lead under load.",
                "a look-up leads: somebody polls; offer wait=N or webhooks.",
            ),
            unit=S_PER_S,
            stack="sum",
        ),
        Graph(
            15,
            "Statements a second",
            [Query(f"topk(8, {rate(f'{QUERIES}_count', by='query')})", "{{query}}")],
            says(
                "How often the most frequent statements run.",
                "far below the number of jobs: work is batched.",
                "one for each job: callers send one by one; see the batch routes.",
            ),
            unit=PER_S,
        ),
    ),
)

TABLES: Final = (
    (
        Graph(
            16,
            "Dead rows",
            [Query(highest("database_dead_rows", by="table"), "{{table}}")],
            says(
                "Rows of the busy tables that vacuum has yet to remove. In jobs they outnumber the"
                " live ones by far, since every job passes through it.",
                "a saw-tooth: autovacuum comes by.",
                "climbs for an hour: vacuum is held back (Oldest transaction) or too slow.",
            ),
            links=(link.runbook("SignalStackDeadRows"),),
        ),
        Graph(
            17,
            "Rows",
            [Query(highest("database_live_rows", by="table"), "{{table}}")],
            says(
                "Live rows of the busy tables, by PostgreSQL's statistics.",
                "jobs stays small: it holds only what waits or runs.",
                "metrics_delta grows: no leader sums it up.",
            ),
        ),
        Graph(
            18,
            "Size of tables",
            [Query(highest("database_table_bytes", by="table"), "{{table}}")],
            says(
                "Bytes on disk, with indexes and partitions.",
                "levels off at what RETENTION_… keeps.",
                "grows for ever: retention does not run; see Workers, Removed by retention.",
            ),
            unit=BYTES,
        ),
        Figure(
            19,
            "Talks to a standby",
            highest("database_in_recovery"),
            says(
                "1 when the server that we talk to is a standby, which cannot LISTEN or write.",
                "0.",
                "DATABASE_URL points to the wrong host: name the primary, or"
                " target_session_attrs=read-write.",
            ),
            unit=NUMBER,
            steps=under(1),
            links=(link.runbook("SignalStackDatabaseDown"),),
        ),
    ),
)
