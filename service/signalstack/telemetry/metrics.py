"""Which fact moves which metric, and the registry that a scrape renders."""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from signalstack.core import stage
from signalstack.core.job import Outcome, Wake
from signalstack.telemetry.beginnings import Beginnings
from signalstack.telemetry.catalogue import DISPATCH_S, WORK_S, Catalogue
from signalstack.telemetry.examples import Examples
from signalstack.telemetry.house import House

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    Taker = Callable[[Any], None]

BREATH_S: Final = 0.0001
TERMINAL: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})


class Metrics(Collector):
    """Takes facts on one thread, that of the event loop; may be scraped from any other."""

    def __init__(
        self, *, version: str, build: Mapping[str, str] | None = None, queues: Iterable[str] = ()
    ) -> None:
        """Begin at zero; `version` and `build` become labels of `build_info`.

        The operator's `queues` have series of their own however many others there are.
        """
        labels = {"version": version, "python": platform.python_version(), **(build or {})}
        self._all = Catalogue(labels, queues)
        self._all.build.set(1, *labels.values())
        self._listeners: dict[str, bool] = {}
        self._silenced = False
        self._connected: dict[str, bool] = {}
        self._once_up: set[str] = set()
        self._beginnings = Beginnings(self._all)
        self._house = House(self._all)
        self.examples = Examples(self._all)
        self._dispatch = self._all.dispatch.cells
        self._runs = self._all.runs.cells
        self._requests = self._all.requests.cells
        self._ended = self._all.finished.cells
        self.registry = CollectorRegistry(support_collectors_without_names=True)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def takers(self) -> dict[type[stage.Fact], Taker]:
        """Return what to call for each type of fact."""
        return {
            stage.Serving: self._beginnings.serving,
            stage.Started: self._started,
            stage.Finished: self._finished,
            stage.Requested: self._requested,
            stage.EventReceived: self._event_received,
            stage.Enqueued: self._enqueued,
            stage.Flushed: self._flushed,
            stage.Woken: self._woken,
            stage.Claimed: self._claimed,
            stage.HandedOver: self._handed_over,
            stage.Settled: self._settled,
            stage.Closed: self._closed,
            stage.Rescued: self._rescued,
            stage.Queried: self._queried,
            stage.ListenerChanged: self._listener_changed,
            stage.DatabaseReached: self._database_reached,
            stage.Heard: self._heard,
            stage.RoundTripped: self._round_tripped,
            stage.SlotsChanged: self._slots_changed,
            stage.PoolSampled: self._pool_sampled,
            stage.Delivered: self._delivered,
            stage.PutOff: self._put_off,
            stage.LeaderChanged: self._house.leader_changed,
            stage.Removed: self._house.removed,
            stage.QueuesRead: self._house.queues_read,
            stage.DatabaseRead: self._house.database_read,
            stage.MessageTried: self._message_tried,
            stage.CacheAsked: self._cache_asked,
            stage.LoopLagged: self._loop_lagged,
            stage.ChoreEnded: self._chore_ended,
            stage.Ticked: self._ticked,
        }

    def collect(self) -> Iterator[Metric]:
        """Yield every family, for a scrape."""
        for family in self._all.families:
            yield family.render()
            # Lets go of the interpreter's lock, so that the event loop gets its turn.
            time.sleep(BREATH_S)  # noqa: TID251 - the scrape's own thread, no event loop here

    def _started(self, fact: stage.Started) -> None:
        # Written out rather than `observe(…)`: these three run for every job or request.
        key = (fact.queue, fact.wake)
        cell = self._dispatch.get(key) or self._beginnings.open_start(key, fact.type)
        latency_s = fact.at - fact.due_at
        if latency_s < 0.0:  # a clock was set back between the two readings
            cell[1] += 1
            return
        cell[bisect_left(DISPATCH_S, latency_s) + 1] += 1
        cell[0] += latency_s

    def _finished(self, fact: stage.Finished) -> None:
        key = (fact.queue, fact.type, fact.outcome)
        cell = self._runs.get(key) or self._beginnings.open_run(key)
        duration_s = fact.duration_s
        cell[bisect_left(WORK_S, duration_s) + 1] += 1
        cell[0] += duration_s

    def _requested(self, fact: stage.Requested) -> None:
        key = (fact.method, fact.route, fact.status)
        cell = self._requests.get(key) or self._beginnings.open_request(key)
        cell[bisect_left(WORK_S, fact.duration_s) + 1] += 1
        cell[0] += fact.duration_s

    def _event_received(self, fact: stage.EventReceived) -> None:
        self._all.events.add(1, fact.outcome)

    def _enqueued(self, fact: stage.Enqueued) -> None:
        self._all.enqueued.add(fact.count, fact.queue, fact.type)

    def _flushed(self, fact: stage.Flushed) -> None:
        self._all.flush_sizes.observe(fact.writes)
        self._all.flushes.observe(fact.duration_s)

    def _woken(self, fact: stage.Woken) -> None:
        self._all.wakeups.add(1, fact.cause)

    def _claimed(self, fact: stage.Claimed) -> None:
        self._all.claim_times.observe(fact.duration_s)
        self._all.claims.add(1, "hit" if fact.count else "empty")
        if fact.count:
            self._all.claim_sizes.observe(fact.count)
        for wake, count in fact.wakes.items():
            self._all.claimed.add(count, wake)

    def _handed_over(self, fact: stage.HandedOver) -> None:
        self._all.handovers.add(1, fact.outcome)
        if fact.outcome == "taken":
            self._all.claimed.add(1, Wake.NOTIFY)

    def _settled(self, fact: stage.Settled) -> None:
        self._all.settles.observe(fact.duration_s)
        self._all.stale.add(fact.stale)
        # Counted here and not as handlers end: what was no longer ours counts where it is recorded,
        # and what is recorded may differ from what was said.
        for key, count in fact.ended.items():
            if key[2] in TERMINAL:
                cell = self._ended.get(key) or self._all.finished.open(key)
                cell[0] += count
            elif key[2] is Outcome.RETRIED:
                self._all.retries.add(count, *key[:2])

    def _closed(self, fact: stage.Closed) -> None:
        self._all.finished.add(fact.count, fact.queue, fact.type, fact.outcome)

    def _rescued(self, fact: stage.Rescued) -> None:
        self._all.rescued.add(fact.count)

    def _queried(self, fact: stage.Queried) -> None:
        self._all.queries.observe(fact.duration_s, fact.query)

    def _listener_changed(self, fact: stage.ListenerChanged) -> None:
        if fact.up:
            self._all.reconnects.add(fact.name in self._once_up)
            self._once_up.add(fact.name)
        if fact.wanted:
            self._listeners[fact.name] = fact.up
            self._all.listening.set(all(self._listeners.values()))
        else:
            self._silenced = True
        # One that is down decides: what only it would hear of is found by polling. Who polls
        # because it was told to is nobody's to look after, so that is a mode of its own.
        up = all(self._listeners.values())
        self._all.modes.set(up and not self._silenced, "listening")
        self._all.modes.set(not up, "polling")
        self._all.modes.set(up and self._silenced, "off")

    def _heard(self, fact: stage.Heard) -> None:
        self._all.heard_at.set(fact.at)

    def _database_reached(self, fact: stage.DatabaseReached) -> None:
        self._connected[fact.name] = fact.up
        self._all.reached.set(all(self._connected.values()))

    def _round_tripped(self, fact: stage.RoundTripped) -> None:
        self._all.roundtrips.observe(fact.duration_s)

    def _slots_changed(self, fact: stage.SlotsChanged) -> None:
        self._all.slots.set(fact.busy, "busy")
        self._all.slots.set(fact.free, "free")

    def _pool_sampled(self, fact: stage.PoolSampled) -> None:
        self._all.connections.set(fact.used, "used")
        self._all.connections.set(fact.idle, "idle")
        self._all.connections.set(fact.waiting, "waiting")

    def _delivered(self, fact: stage.Delivered) -> None:
        self._all.deliveries.add(1, fact.outcome)
        if fact.duration_s is not None:
            self._all.delivery_times.observe(fact.duration_s, fact.outcome)

    def _put_off(self, _fact: stage.PutOff) -> None:
        self._all.put_off.add(1)

    def _message_tried(self, fact: stage.MessageTried) -> None:
        self._all.messages.add(1, fact.outcome)

    def _cache_asked(self, fact: stage.CacheAsked) -> None:
        self._all.cache.add(1, fact.outcome)

    def _loop_lagged(self, fact: stage.LoopLagged) -> None:
        self._all.lags.observe(fact.lag_s)

    def _chore_ended(self, fact: stage.ChoreEnded) -> None:
        self._all.chores.observe(fact.duration_s, fact.chore, fact.outcome)

    def _ticked(self, fact: stage.Ticked) -> None:
        self._all.ticks.add(fact.count, fact.outcome)
        if fact.outcome == "enqueued":
            self._all.tick_lags.observe(fact.lag_s)
