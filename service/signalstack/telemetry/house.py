"""The gauges that the maintenance leader keeps for all; a process that does not lead has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signalstack.core import stage
    from signalstack.telemetry.catalogue import Catalogue
    from signalstack.telemetry.cells import Gauge


class House:
    """Fills the leader's gauges, and empties them when another process leads."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._all = catalogue

    def leader_changed(self, fact: stage.LeaderChanged) -> None:
        """Note who leads; old readings must not outlive the term."""
        self._all.leading.set(fact.leading)
        if not fact.leading:
            for gauge in self._kept():
                gauge.replace(())

    def removed(self, fact: stage.Removed) -> None:
        """Count what retention removed."""
        self._all.removed.add(fact.count, fact.table, fact.how)

    def queues_read(self, fact: stage.QueuesRead) -> None:
        """Show the queues and workers; of queues that share `other`, the sum and the worst."""
        everything = self._all
        everything.standing.forget()
        everything.depth.replace(
            ((queue.queue, status), count)
            for queue in fact.queues
            for status, count in (
                ("scheduled", queue.scheduled),
                ("pending", queue.pending),
                ("paused", queue.held),
                ("running", queue.running),
            )
        )
        everything.oldest.replace((((q.queue,), q.oldest_s) for q in fact.queues), join=max)
        everything.serving.replace((((q.queue,), q.workers) for q in fact.queues), join=min)
        everything.paused.replace((((q.queue,), q.paused) for q in fact.queues), join=max)
        everything.workers.set(fact.workers_alive, "alive")
        everything.workers.set(fact.workers_stale, "stale")
        everything.queues_at.set(fact.at)

    def database_read(self, fact: stage.DatabaseRead) -> None:
        """Show the server and the tables."""
        everything, server = self._all, fact.server
        everything.notify_queue.set(server.notify_queue)
        everything.backends.set(server.active, "active")
        everything.backends.set(server.idle, "idle")
        everything.backends.set(server.in_transaction, "idle_in_transaction")
        everything.backends.set(server.other, "other")
        everything.backends_limit.set(server.connections_limit)
        everything.oldest_transaction.set(server.oldest_transaction_s)
        everything.xmin_age.set(server.xmin_age)
        everything.in_recovery.set(server.in_recovery)
        everything.live_rows.replace(((table.name,), table.live) for table in fact.tables)
        everything.dead_rows.replace(((table.name,), table.dead) for table in fact.tables)
        everything.table_bytes.replace(((table.name,), table.bytes) for table in fact.tables)
        everything.database_at.set(server.at)

    def _kept(self) -> tuple[Gauge, ...]:
        everything = self._all
        return (
            everything.depth,
            everything.oldest,
            everything.serving,
            everything.paused,
            everything.workers,
            everything.queues_at,
            everything.notify_queue,
            everything.backends,
            everything.backends_limit,
            everything.oldest_transaction,
            everything.xmin_age,
            everything.live_rows,
            everything.dead_rows,
            everything.table_bytes,
            everything.in_recovery,
            everything.database_at,
        )
