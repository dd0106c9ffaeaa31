"""What all of it stands on: PostgreSQL, its connections and its age, and LISTEN."""

from __future__ import annotations

from typing import Final

from boards import link, postgresql_tables, variable
from boards.board import Board, Section
from boards.panel import PER_S, SECONDS, SHARE, Figure, Graph, says
from boards.query import Query
from boards.series import highest, or_zero, quantile, rate, series, summed
from boards.threshold import above, below, under

CONNECTIONS: Final = highest("database_connections", by="state")
LIMIT: Final = highest("database_connections_limit")
LISTENER: Final = (link.runbook("SignalStackListenerDown"),)
VACUUM: Final = (link.runbook("SignalStackVacuumHeldBack"),)
CROWD: Final = (link.runbook("SignalStackConnectionsNearLimit"),)
FILLING: Final = (link.runbook("SignalStackNotifyQueueFilling"),)

TOP: Final = (
    (
        Figure(
            1,
            "Listeners that hear",
            f"avg({series('listener_up')})",
            says(
                "Share of processes that hear notifications.",
                "100 %.",
                "the others poll: run `signalstack doctor` against LISTEN_DATABASE_URL.",
            ),
            unit=SHARE,
            steps=above(0.5, 1),
            links=LISTENER,
        ),
        Figure(
            2,
            "Notification round trip, p99",
            quantile(0.99, "listener_roundtrip_seconds"),
            says(
                "A canary's way back to the process that sent it; one of all sends it every 15 s.",
                "a few milliseconds.",
                "notifying commits queue up, or an event loop is blocked.",
            ),
            unit=SECONDS,
            steps=below(0.05, 0.5),
        ),
        Figure(
            3,
            "Connections in use",
            f"sum({CONNECTIONS}) / {LIMIT}",
            says(
                "Share of the server's max_connections.",
                "below 80 %.",
                "lower DB_POOL_MAX, put a pooler between, or raise max_connections.",
            ),
            unit=SHARE,
            steps=below(0.8, 0.9),
            links=CROWD,
        ),
        Figure(
            4,
            "Oldest transaction",
            highest("database_oldest_transaction_seconds"),
            says(
                "Age of the oldest open transaction in the service's database, whoever has it.",
                "below a minute.",
                "while it lives no dead row is removed: find it in pg_stat_activity and end it.",
            ),
            unit=SECONDS,
            steps=below(300, 1800),
            links=VACUUM,
        ),
    ),
)

LISTEN: Final = (
    (
        Graph(
            5,
            "Round trip",
            [
                Query(quantile(q, "listener_roundtrip_seconds"), name)
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ],
            says(
                "From NOTIFY to its arrival at the sender.",
                "a few milliseconds.",
                "high with flush times: the commit lock of NOTIFY. High alone: the event loop.",
            ),
            unit=SECONDS,
            steps=under(0.5),
        ),
        Graph(
            6,
            "Last notification heard",
            [
                Query(
                    f"time() - {series('listener_last_notification_timestamp_seconds')}",
                    "{{instance}}",
                )
            ],
            says(
                "How long each process has heard nothing, canaries included.",
                "at most 15 s: a canary comes that often.",
                "a minute: LISTEN is silently dead, mostly a pooler in transaction mode.",
            ),
            unit=SECONDS,
            steps=under(60),
            links=LISTENER,
        ),
        Graph(
            7,
            "Processes that listen and that poll",
            [Query(summed("listener_mode", by="mode"), "{{mode}}")],
            says(
                "How processes learn of work.",
                "all listening; off is WORKER_LISTEN=off.",
                "polling: jobs start up to POLL_INTERVAL late; /ready of that process says why.",
            ),
            stack="sum",
            links=LISTENER,
        ),
    ),
    (
        Graph(
            8,
            "Reconnects of listeners",
            [Query(or_zero(rate("listener_reconnects_total")), "reconnects")],
            says(
                "Listening connections that came back, a second.",
                "0.",
                "a firewall or a proxy cuts idle connections, or PostgreSQL restarts.",
            ),
            unit=PER_S,
            links=(link.runbook("SignalStackListenerFlapping"),),
        ),
        Graph(
            20,
            "Notify queue in use",
            [Query(highest("notify_queue_usage_ratio"), "in use")],
            says(
                "How full the server's queue of notifications is.",
                "0 %.",
                "a listener that does not read holds it; when it is full, every notifying commit"
                " fails.",
            ),
            unit=SHARE,
            steps=below(0.1, 0.5),
            links=FILLING,
        ),
    ),
)

SERVER: Final = (
    (
        Graph(
            9,
            "Connections of the server",
            [Query(CONNECTIONS, "{{state}}"), Query(LIMIT, "limit")],
            says(
                "All connections, ours or not, by what they do.",
                "far below the limit; idle in transaction near 0.",
                "idle in transaction: somebody forgot to commit and holds back vacuum.",
            ),
            links=CROWD,
        ),
        Graph(
            10,
            "Pooled connections",
            [Query(summed("db_pool_connections", by="state"), "{{state}}")],
            says(
                "Connections of the processes' pools; waiting are callers without one.",
                "waiting is 0.",
                "raise DB_POOL_MAX, or find the slow statement that holds them.",
            ),
            links=(link.runbook("SignalStackPoolExhausted"),),
        ),
        Graph(
            11,
            "Oldest transaction",
            [Query(highest("database_oldest_transaction_seconds"), "oldest transaction")],
            says(
                "Age of the oldest transaction in the service's database, prepared ones included.",
                "a saw-tooth near 0.",
                "a straight line upwards: somebody holds it open; no dead row goes meanwhile.",
            ),
            unit=SECONDS,
            steps=under(1800),
            links=VACUUM,
        ),
        Graph(
            12,
            "Transactions held back",
            [Query(highest("database_xmin_age_transactions"), "age of the oldest horizon")],
            says(
                "How many transactions ago the oldest horizon lies that vacuum must respect.",
                "a saw-tooth.",
                "climbs: the same as Oldest transaction, or an abandoned replication slot.",
            ),
            links=VACUUM,
        ),
    ),
)


BOARD: Final = Board(
    uid=link.POSTGRESQL,
    description="Does PostgreSQL keep up, does LISTEN hear, does vacuum get through?",
    variables=(variable.job, variable.instance),
    sections=(
        Section("", TOP),
        Section("LISTEN and NOTIFY", LISTEN),
        Section("Server", SERVER),
        Section("Statements", postgresql_tables.STATEMENTS),
        Section("Tables", postgresql_tables.TABLES),
    ),
)
