"""The observer of production: facts become metrics and a few log lines, spans become traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signalstack.core import stage
from signalstack.core.log import get_logger
from signalstack.telemetry.exposition import Exposition
from signalstack.telemetry.metrics import Metrics
from signalstack.telemetry.traces import Exporter, Tracer, Untraced, is_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import CollectorRegistry

    from signalstack.telemetry.exposition import Bound

FLUSH_S: Final = 5.0

_log = get_logger("signalstack.observer")


class Telemetry:
    """Implements `core.stage.Observer` for one process; tell it facts on one thread."""

    def __init__(
        self,
        *,
        version: str,
        traces: Exporter = "none",
        build: Mapping[str, str] | None = None,
        queues: Iterable[str] = (),
    ) -> None:
        """Make metrics and tracer; nothing listens before `start`.

        Args:
            version: of the service, for `build_info` and the resource of traces.
            traces: where spans go; the rest is said by the standard `OTEL_*` variables.
            build: more labels of `build_info`, such as `{"role": "worker"}`.
            queues: the operator's, which have series of their own however many others there are.
        """
        metrics = Metrics(version=version, build=build, queues=queues)
        self.registry: CollectorRegistry = metrics.registry
        self._takers = metrics.takers()
        self._note(stage.ListenerChanged, _log_listener)
        self._note(stage.Rescued, _log_rescue)
        self._note(stage.LeaderChanged, _log_leader)
        if traces != "none":
            for kind, keep in metrics.examples.takers().items():
                self._note(kind, keep, where=is_recorded)
        self._failing: set[type[stage.Fact]] = set()
        self._exposition: Exposition | None = None
        self._tracer = _open_tracer(traces, version)
        self.span = self._tracer.span  # not a method: the detour would double what it costs

    def tell(self, fact: stage.Fact) -> None:
        """Take note of a fact; neither blocks nor raises."""
        try:
            self._takers[type(fact)](fact)
        except Exception:  # noqa: BLE001 - what watches the work must never break it
            self._complain(type(fact))

    def start(self, at: Bound) -> int:
        """Serve `/metrics` at an address that was bound, and return the port.

        Raises:
            SettingsError: another process came to listen there since then.
        """
        self._exposition = Exposition(self.registry, at)
        return self._exposition.port

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Stop serving and send the spans that are left.

        Blocks, at most for about `timeout_s`: call it in a thread while an event loop runs.
        """
        if self._exposition is not None:
            self._exposition.close()
            self._exposition = None
        self._tracer.close(timeout_s)

    def _note(
        self,
        kind: type[stage.Fact],
        write: Callable[[Any], None],
        *,
        where: Callable[[], bool] = lambda: True,
    ) -> None:
        take = self._takers[kind]

        def take_and_write(fact: stage.Fact) -> None:
            take(fact)
            if where():
                write(fact)

        self._takers[kind] = take_and_write

    def _complain(self, kind: type[stage.Fact]) -> None:
        # Once for each kind: at 50,000 facts a second the log would be the next thing to break.
        if kind not in self._failing:
            self._failing.add(kind)
            _log.exception("observer.fact_lost", fact=kind.__name__)


def _open_tracer(traces: Exporter, version: str) -> Tracer:
    if traces == "none":
        return Untraced()
    # Half a second of loading that only those pay who collect traces.
    from signalstack.telemetry.spans import Recorder  # noqa: PLC0415 - see above

    return Recorder(traces, version=version)


def _log_listener(fact: stage.ListenerChanged) -> None:
    if fact.up:
        _log.info("listener.up", listener=fact.name, reason=fact.reason)
    elif not fact.wanted:
        _log.info("listener.off", listener=fact.name, mode="off", reason=fact.reason)
    else:
        # Nothing stops for it: what would have been heard is looked for every POLL_INTERVAL.
        _log.warning("listener.down", listener=fact.name, mode="polling", reason=fact.reason)


def _log_rescue(fact: stage.Rescued) -> None:
    if fact.count:
        _log.warning("jobs.rescued", count=fact.count)


def _log_leader(fact: stage.LeaderChanged) -> None:
    _log.info("leader.leads" if fact.leading else "leader.stands_by")
