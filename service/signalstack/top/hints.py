"""What in a picture somebody should look at, in a sentence each; no more than hints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.core.message import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from signalstack.top.picture import Picture

OLD_S: Final = 10.0
STALE_GAUGES_S: Final = 60.0
FAILING: Final = 0.1
POLLED: Final = 0.1
FEW: Final = 1.0  # starts or ends a second below which a share says little
NOTIFY_QUEUE: Final = 0.1


def find_hints(picture: Picture) -> list[str]:
    """Say what is not as it should be, the gravest first."""
    return [hint for look in _LOOKS for hint in look(picture)]


def _away(picture: Picture) -> Iterator[str]:
    for line in picture.processes:
        if line.away is not None:
            yield f"{line.target} is away: {line.away}"
        elif line.database is False:
            yield f"{line.target} does not reach PostgreSQL"


def _listeners(picture: Picture) -> Iterator[str]:
    for line in picture.processes:
        if line.listener == "polling" and line.database is not False:
            yield f"listener of {line.target} is down: polling (`signalstack doctor` says why)"


def _leaders(picture: Picture) -> Iterator[str]:
    standing = [line.leads for line in picture.processes if line.leads is not None]
    if standing and not any(standing) and not any(line.away for line in picture.processes):
        yield "none of these targets leads: depths are shown by the one that does, add its --target"
    if picture.gauges_age_s is not None and picture.gauges_age_s > STALE_GAUGES_S:
        yield f"depths were read {picture.gauges_age_s:.0f} s ago: the leader is stuck or gone"


def _workers(picture: Picture) -> Iterator[str]:
    if stale := picture.workers.get("stale", 0):
        yield f"{stale} stale worker{'' if stale == 1 else 's'}: their runs are being rescued"
    slots = [(line.busy, line.free) for line in picture.processes if line.free is not None]
    if slots and not sum(free or 0 for _, free in slots) and any(busy for busy, _ in slots):
        yield "no free slot: raise WORKER_CONCURRENCY or add workers"


def _queues(picture: Picture) -> Iterator[str]:
    """Messages leave at a pace that was set, so theirs waits by design."""
    for line in picture.queues:
        if line.depth.get("pending") and line.workers == 0:
            yield f"queue {line.name}: no worker serves it"
        elif line.name != QUEUE and line.oldest_s is not None and line.oldest_s > OLD_S:
            yield f"queue {line.name}: the oldest has waited {line.oldest_s:.0f} s"
        if line.paused:
            held = line.depth.get("paused", 0)
            yield f"queue {line.name} is paused for all or for some tenant: {held} jobs are held"


def _rates(picture: Picture) -> Iterator[str]:
    if (rates := picture.rates) is None:
        return
    ended = sum(rates.outcomes.values())
    failed = rates.outcomes.get("failed", 0.0)
    if ended >= FEW and failed / ended > FAILING:
        yield f"{failed / ended:.0%} of the jobs that end fail: look at their last_error"
    if rates.retries >= FEW and rates.retries > ended:
        yield "more retries than ends: what the jobs call is down or refuses"
    if rates.rescued:
        yield "runs are being rescued: workers die or hang"
    if rates.stale:
        yield "outcomes are dropped as stale: a worker stands still for longer than its lease"
    if rates.errors:
        yield f"{rates.errors:.1f} requests/s are answered with 5xx"


def _wakes(picture: Picture) -> Iterator[str]:
    polled = picture.wakes.get("poll", 0.0)
    if picture.latencies["dispatch"].rate >= FEW and polled > POLLED:
        yield f"{polled:.0%} of the starts were found by polling: notifications get lost"


def _database(picture: Picture) -> Iterator[str]:
    for line in picture.processes:
        if line.callers_waiting:
            yield f"{line.callers_waiting} callers of {line.target} wait for a connection"
    if (picture.notify_queue_usage or 0.0) > NOTIFY_QUEUE:
        yield f"the notify queue is {picture.notify_queue_usage:.0%} full: a listener is frozen"


def _versions(picture: Picture) -> Iterator[str]:
    versions = {line.version for line in picture.processes if line.version}
    if len(versions) > 1:
        yield f"several versions run: {', '.join(sorted(versions))}"


_LOOKS: Final[tuple[Callable[[Picture], Iterator[str]], ...]] = (
    *(_away, _listeners, _queues, _workers, _rates, _wakes, _leaders, _database, _versions),
)
