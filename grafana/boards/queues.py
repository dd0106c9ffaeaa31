"""What waits, for how long, whose it is and whether anybody works on it."""

from __future__ import annotations

from typing import Final

from boards import link, objective, queues_flow, variable
from boards.board import Board, Section
from boards.listing import Listing
from boards.panel import NUMBER, PER_S, SECONDS, Figure, Graph, says
from boards.query import Query, column
from boards.series import QUEUE_SHARED, SHARED, depth, highest, of_queue, or_none, quantile, rate
from boards.threshold import NEUTRAL, below, under

SERVING: Final = of_queue("queue_workers")
DRILLS: Final = (link.series(link.DISPATCH, "queue"),)


TOP: Final = (
    (
        Figure(
            1,
            "Waiting and due",
            f"sum({depth('pending')})",
            says(
                "Jobs that could run now and do not.",
                "near 0, or falling.",
                "the table below shows whose; limited and unserved queues stand out.",
            ),
        ),
        Figure(
            2,
            "Oldest due job",
            highest("queue_oldest_seconds", QUEUE_SHARED, objective.UNPACED),
            says(
                "Age of the oldest job that is due and has not started; without messages,"
                " which wait by design.",
                "below a few seconds, or what you allow a backlog to take.",
                "see Oldest by queue for which.",
            ),
            unit=SECONDS,
            steps=below(10, 60),
            links=(link.runbook("SignalStackQueueOld"),),
        ),
        Figure(
            3,
            "Unserved queues with work",
            or_none(
                f"count(({depth('pending')} > 0) and on (queue) ({SERVING} == 0))",
                SERVING,
            ),
            says(
                "Queues with due jobs that no live worker takes from.",
                "0.",
                "start a worker with `--queues` or WORKER_QUEUES naming it; the table says which.",
            ),
            steps=under(1),
            links=(link.runbook("SignalStackQueueWithoutWorker"),),
        ),
        Figure(
            4,
            "Age of these gauges",
            f"time() - {highest('queue_gauges_timestamp_seconds')}",
            says(
                "How long ago the leader read what this dashboard shows of queues.",
                "some seconds.",
                "older than a minute: nobody leads; what stands here is old.",
            ),
            unit=SECONDS,
            steps=below(60, 180),
            links=(link.runbook("SignalStackGaugesStale"),),
        ),
    ),
    (
        Listing(
            5,
            "Queues",
            [
                column(depth("pending"), "due"),
                column(depth("running"), "running"),
                column(depth("paused"), "held"),
                column(depth("scheduled"), "later"),
                column(of_queue("queue_oldest_seconds"), "oldest"),
                column(SERVING, "workers"),
                column(of_queue("queue_paused"), "paused"),
            ],
            says(
                "Each queue, all tenants together. Click a name for its dispatch.",
                "due near 0, at least one worker, not paused.",
                "no worker: start one. Paused 1: a tenant or an operator paused a queue of this"
                " name, and what is held waits for that alone; GET /v1/queues says which. Old, with"
                " workers: too few slots, or a limit.",
            ),
            columns={
                "due": (NUMBER, NEUTRAL),
                "running": (NUMBER, NEUTRAL),
                "held": (NUMBER, NEUTRAL),
                "later": (NUMBER, NEUTRAL),
                "oldest": (SECONDS, below(10, 60)),
                "workers": (NUMBER, (("red", None), ("text", 1))),
                "paused": (NUMBER, (("text", None), ("orange", 1))),
            },
            links=(link.runbook("SignalStackQueueOld"),),
            drills={"queue": (link.cell(link.DISPATCH, "queue"),)},
        ),
    ),
)


SCHEDULES: Final = (
    (
        Graph(
            15,
            "Ticks of schedules",
            [Query(rate("schedule_ticks_total", SHARED, by="outcome"), "{{outcome}}")],
            says(
                "Ticks a second, by what became of them.",
                "enqueued; duplicate is a race that was won by another leader, and harmless.",
                "rejected: the schedule's job is no longer accepted, GET /v1/schedules says why."
                " skipped: the leader was away at that time.",
            ),
            unit=PER_S,
        ),
        Graph(
            16,
            "Lag of schedules",
            [
                Query(quantile(q, "schedule_lag_seconds", SHARED), name)
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ],
            says(
                "From a tick's time to its job in the queue.",
                "below a second.",
                "the leader changes, or PostgreSQL is slow: see Workers.",
            ),
            unit=SECONDS,
            steps=under(5),
            links=(link.runbook("SignalStackSchedulesLate"),),
        ),
        Figure(
            17,
            "Paused queues",
            or_none(f"count({of_queue('queue_paused')} == 1)", of_queue("queue_paused")),
            says(
                "Names of queues that some tenant or the operator has paused.",
                "what you know of.",
                "POST /v1/queues/{name}/resume by whoever paused it.",
            ),
            steps=((("text"), None), ("orange", 1)),
        ),
    ),
)

BOARD: Final = Board(
    uid=link.QUEUES,
    description="What waits, for how long, and does anybody work on it?",
    variables=(variable.job, variable.instance, variable.queue),
    sections=(
        Section("", TOP),
        Section("By queue", queues_flow.WAITING),
        Section("Schedules", SCHEDULES),
    ),
)
