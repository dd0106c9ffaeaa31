"""The processes: are their slots used, their loops free, their leases kept, their chores done."""

from __future__ import annotations

from typing import Final

from boards import link, variable, workers_process
from boards.board import Board, Section
from boards.panel import PER_S, SECONDS, SHARE, Figure, Graph, says
from boards.query import Query
from boards.series import (
    PROCESS,
    SHARED,
    gained,
    highest,
    or_zero,
    quantile,
    rate,
    series,
    share,
    summed,
)
from boards.threshold import below, exactly_one, under

BUSY: Final = summed("worker_slots", PROCESS, 'state="busy"')
SLOTS: Final = summed("worker_slots")
LEASES: Final = (link.runbook("SignalStackStaleSettlements"),)


TOP: Final = (
    (
        Figure(
            1,
            "Workers alive",
            highest("workers", SHARED, 'state="alive"'),
            says(
                "Workers whose lease holds, as the database has them.",
                "as many as you started.",
                "fewer: one died or cannot reach PostgreSQL; see the log of the one that is gone.",
            ),
            links=(link.runbook("SignalStackStaleWorkers"),),
        ),
        Figure(
            2,
            "Slots in use",
            share(BUSY, SLOTS),
            says(
                "Share of all slots that run a job at this moment.",
                "below 80 %.",
                "near 100 % while jobs wait: raise WORKER_CONCURRENCY or add workers.",
            ),
            unit=SHARE,
            steps=below(0.8, 0.95),
        ),
        Figure(
            3,
            "Runs rescued",
            gained("jobs_rescued_total", SHARED),
            says(
                "Runs in the range shown whose worker's lease ended before they did.",
                "0, but after a kill.",
                "workers die or hang: look at their memory, and at their last log lines.",
            ),
            steps=under(1),
            instant=True,
            links=(link.runbook("SignalStackWorkersDying"),),
        ),
        Figure(
            4,
            "Outcomes dropped as stale",
            gained("stale_settlements_total"),
            says(
                "Outcomes in the range shown that came after their lease was lost; another run"
                " counts in their place.",
                "0.",
                "a worker stands still for longer than LEASE_SECONDS, often a handler that blocks.",
            ),
            steps=under(1),
            instant=True,
            links=LEASES,
        ),
    ),
    (
        Graph(
            5,
            "Slots",
            [Query(summed("worker_slots", by="state"), "{{state}}")],
            says(
                "Busy and free slots of all workers.",
                "some are free.",
                "none free for long, and jobs wait: more slots; at full CPU more workers.",
            ),
            stack="sum",
        ),
        Graph(
            6,
            "Slots in use, by worker",
            [
                Query(
                    share(
                        summed("worker_slots", PROCESS, 'state="busy"', by="instance"),
                        summed("worker_slots", by="instance"),
                    ),
                    "{{instance}}",
                )
            ],
            says(
                "Share of each worker's slots that run a job.",
                "workers are alike.",
                "one at 100 % alone: its jobs hang; see their timeout.",
            ),
            unit=SHARE,
            top=1,
        ),
        Graph(
            7,
            "Workers by lease",
            [Query(highest("workers", SHARED, by="state"), "{{state}}")],
            says(
                "Rows of workers, as the leader sees them.",
                "all alive.",
                "stale ones are removed after their jobs are rescued; many: they are being killed.",
            ),
            links=(link.runbook("SignalStackStaleWorkers"),),
        ),
    ),
)

LEASED: Final = (
    (
        Graph(
            8,
            "Leases lost",
            [
                Query(or_zero(rate("jobs_rescued_total", SHARED)), "runs rescued"),
                Query(or_zero(rate("stale_settlements_total")), "outcomes dropped"),
            ],
            says(
                "Runs that lost their worker, and workers that lost their run.",
                "0.",
                "both: workers pause (swap, a blocked loop). Rescues alone: workers die.",
            ),
            unit=PER_S,
            links=LEASES,
        ),
        Graph(
            9,
            "Leader",
            [Query(f"{series('maintenance_leader', SHARED)} == 1", "{{instance}}")],
            says(
                "Which process does maintenance.",
                "one line at a time.",
                "a gap: nobody leads. Changing often: workers restart or lose PostgreSQL.",
            ),
            steps=exactly_one(),
            links=(link.runbook("SignalStackLeaderMissing"),),
        ),
        Graph(
            10,
            "Runs, p95 by worker",
            [Query(quantile(0.95, "job_duration_seconds", by="instance"), "{{instance}}")],
            says(
                "How long handlers run in each worker.",
                "workers are alike.",
                "one is slower: its machine, or its network.",
            ),
            unit=SECONDS,
        ),
    ),
)


BOARD: Final = Board(
    uid=link.WORKERS,
    description="Are slots used, loops free, leases kept and chores done?",
    variables=(variable.job, variable.instance),
    sections=(
        Section("", TOP),
        Section("Leases and leader", LEASED),
        Section("Processes", workers_process.MACHINE),
        Section("Maintenance", workers_process.CHORES),
    ),
)
