"""Courses of each queue: the middle of the queues board."""

from __future__ import annotations

from typing import Final

from boards import link
from boards.panel import JOBS_PER_S, SECONDS, SHARE, Graph, says
from boards.query import Query
from boards.series import QUEUE_PROCESS, depth, of_queue, rate, share
from boards.threshold import under

DRILLS: Final = (link.series(link.DISPATCH, "queue"),)

WAITING: Final = (
    (
        Graph(
            6,
            "Due, by queue",
            [Query(depth("pending"), "{{queue}}")],
            says(
                "Jobs that could run now and do not.",
                "returns to 0.",
                "grows: compare Enqueued and Finished of that queue.",
            ),
            drills=DRILLS,
        ),
        Graph(
            7,
            "Oldest, by queue",
            [Query(of_queue("queue_oldest_seconds"), "{{queue}}")],
            says(
                "Age of each queue's oldest due job.",
                "near 0.",
                "a straight line upwards: nothing of that queue is started at all.",
            ),
            unit=SECONDS,
            steps=under(60),
            links=(link.runbook("SignalStackQueueOld"),),
            drills=DRILLS,
        ),
        Graph(
            8,
            "Workers, by queue",
            [Query(of_queue("queue_workers"), "{{queue}}")],
            says(
                "Live workers that take from each queue.",
                "two or more, so that one may die.",
                "0: what waits there waits for ever.",
            ),
            links=(link.runbook("SignalStackQueueWithoutWorker"),),
        ),
    ),
    (
        Graph(
            9,
            "Enqueued, by queue",
            [Query(rate("jobs_enqueued_total", QUEUE_PROCESS, by="queue"), "{{queue}}")],
            says("Jobs committed.", "what you expect.", "a jump: GET /v1/events says who sends."),
            unit=JOBS_PER_S,
            drills=DRILLS,
        ),
        Graph(
            10,
            "Finished, by queue",
            [Query(rate("jobs_finished_total", QUEUE_PROCESS, by="queue"), "{{queue}}")],
            says(
                "Jobs that reached their one outcome.",
                "follows Enqueued.",
                "lower for long: add workers or slots, or see what is slow.",
            ),
            unit=JOBS_PER_S,
            drills=DRILLS,
        ),
        Graph(
            11,
            "Failed, by queue",
            [
                Query(
                    share(
                        rate("jobs_finished_total", QUEUE_PROCESS, 'outcome="failed"', by="queue"),
                        rate("jobs_finished_total", QUEUE_PROCESS, by="queue"),
                    ),
                    "{{queue}}",
                )
            ],
            says(
                "Share of finished jobs that failed for good.",
                "near 0.",
                "the job type dashboard; GET /v1/jobs?status=failed has their last_error.",
            ),
            unit=SHARE,
            steps=under(0.05),
            links=(link.runbook("SignalStackJobsFailing"),),
        ),
    ),
    (
        Graph(
            12,
            "Running, by queue",
            [Query(depth("running"), "{{queue}}")],
            says(
                "Leased jobs, as the database has them.",
                "at most the slots of all workers.",
                "flat at a queue's concurrency limit: the limit holds it back.",
            ),
        ),
        Graph(
            13,
            "Later, by queue",
            [Query(depth("scheduled"), "{{queue}}")],
            says(
                "Jobs that are due in the future, retries among them.",
                "any number: they cost nothing until they are due.",
                "grows with retries: something that is called is down.",
            ),
        ),
        Graph(
            14,
            "Enqueued, by type",
            [
                Query(
                    f"topk(10, {rate('jobs_enqueued_total', QUEUE_PROCESS, by='type')})", "{{type}}"
                )
            ],
            says("Which work it is.", "the usual mix.", "click a type for its own dashboard."),
            unit=JOBS_PER_S,
            drills=(link.series(link.JOB_TYPE, "type"),),
        ),
    ),
)
