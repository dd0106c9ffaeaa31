"""A fault each raises its alert and no other, by Prometheus and Alertmanager to a webhook."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
import pytest

from installation import Installation, Work, Worker, install
from pooler import pgbouncer
from receiver import Receiver, receiver, reply
from watching import Prometheus, alertmanager, prometheus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

# Five minutes of the rules take five seconds: see `watching`.
FASTER: Final = 60.0
RAISED_S: Final = 40.0
CLEARED_S: Final = 45.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert as Alertmanager tells it."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str

    @property
    def name(self) -> str:
        return self.labels["alertname"].removeprefix("SignalStack")


class Told(msgspec.Struct, frozen=True):
    """One notification."""

    receiver: str
    alerts: list[Alert]


class Pager:
    """What the webhook was told, in order."""

    def __init__(self, hook: Receiver) -> None:
        self._hook = hook

    @property
    def raised(self) -> list[str]:
        """The names of all alerts so far, each occurrence once."""
        seen = {(one.name, one.starts_at): one.name for one in self._told()}
        return list(seen.values())

    @property
    def open(self) -> set[str]:
        """The names of those that were not told to be over."""
        last = {(one.name, *sorted(one.labels.items())): one for one in self._told()}
        return {one.name for one in last.values() if one.status == "firing"}

    async def until_raised(self, name: str) -> Alert:
        """Wait for an alert."""
        with anyio.fail_after(RAISED_S):
            while name not in self.open:
                await self._hook.wait_for(len(self._hook.requests) + 1, timeout_s=RAISED_S)
        return [one for one in self._told() if one.name == name][-1]

    async def until_cleared(self) -> None:
        """Wait until no alert is open."""
        with anyio.fail_after(CLEARED_S):
            while self.open:
                await self._hook.wait_for(len(self._hook.requests) + 1, timeout_s=CLEARED_S)

    def check_texts(self) -> None:
        """Every text was filled in, and pages went where pages go."""
        for request in self._hook.requests:
            assert request.target == "/hook"
            told = msgspec.json.decode(request.body, type=Told)
            for one in told.alerts:
                for text in one.annotations.values():
                    assert text
                    assert "<" not in text, text  # `<no value>` and `<error …>`
                way = "pages" if one.labels["severity"] == "critical" else "tickets"
                assert told.receiver == way

    def _told(self) -> list[Alert]:
        bodies = (request.body for request in self._hook.requests)
        return [one for body in bodies for one in msgspec.json.decode(body, type=Told).alerts]


class Scene:
    """An installation under light load, watched."""

    def __init__(self, here: Installation, watch: Prometheus, pager: Pager) -> None:
        self.here = here
        self.watch = watch
        self.pager = pager
        self.workers: list[Worker] = []

    @property
    def targets(self) -> list[str]:
        return [self.here.api_target, *(worker.target for worker in self.workers)]


async def test_each_fault_raises_its_alert_and_no_other_and_clears(data_dir: Path) -> None:
    async with receiver() as shop, _scene(data_dir, shop) as scene:
        expected: list[str] = []
        pager = scene.pager

        async with scene.here.load(_job("poison", every_s=0.1)):
            alert = await pager.until_raised("JobsFailing")
        expected.append("JobsFailing")
        assert alert.labels["type"] == "poison"
        assert pager.raised == expected

        shop.usual = reply(500)
        await pager.until_raised("WebhooksFailing")
        shop.usual = reply(204)
        expected.append("WebhooksFailing")
        assert pager.raised == expected

        async with _deaf_worker(scene) as deaf:
            alert = await pager.until_raised("ListenerDown")
        expected.append("ListenerDown")
        assert alert.labels["instance"] == deaf.target
        assert pager.raised == expected

        follower = scene.workers[1]
        follower.process.process.kill()
        alert = await pager.until_raised("TargetDown")
        expected.append("TargetDown")
        assert alert.labels["instance"] == follower.target
        assert pager.raised == expected

        port = follower.target.rpartition(":")[2]
        async with scene.here.worker(METRICS_PORT=port):
            await pager.until_cleared()
            async with scene.here.without_postgresql():
                await pager.until_raised("DatabaseDown")
            expected.append("DatabaseDown")
            await pager.until_cleared()
        assert pager.raised == expected
        pager.check_texts()


@asynccontextmanager
async def _scene(data_dir: Path, shop: Receiver) -> AsyncGenerator[Scene]:
    """Run it all, and wait until all of it is seen."""
    async with (
        receiver() as hook,
        alertmanager(hook.url, faster=FASTER) as port,
        install(data_dir) as here,
        here.worker() as leader,
        prometheus(here.api_target, leader.target, faster=FASTER) as watch,
    ):
        await watch.until("sum(signalstack_maintenance_leader) == 1")
        deliver = {"body": {"n": 1}, "url": shop.url}
        async with (
            here.worker() as follower,
            here.load(_job("noop", every_s=0.05), _job("send_webhook", deliver, every_s=0.2)),
        ):
            scene = Scene(here, watch, Pager(hook))
            scene.workers = [leader, follower]
            watch.scrape(*scene.targets)
            await watch.until('count(up{job="signalstack"} == 1) == 3')
            await watch.until("signalstack:dispatch:rate5m > 5")
            # What fires while all of it starts is no fault of interest, and has to be over.
            await watch.until("absent(ALERTS)", within_s=40)
            watch.tell(port)
            yield scene


@asynccontextmanager
async def _deaf_worker(scene: Scene) -> AsyncGenerator[Worker]:
    """Add a worker behind a pooler in transaction mode, where LISTEN is silent; take it away."""
    with pgbouncer(scene.here.dsn) as pooled:
        async with scene.here.worker(DATABASE_URL=pooled) as deaf:
            scene.watch.scrape(*scene.targets, deaf.target)
            yield deaf
            scene.watch.scrape(*scene.targets)
            await scene.watch.until('count(up{job="signalstack"}) == 3')


def _job(type_: str, payload: object = None, *, every_s: float) -> Work:
    body = {"type": type_, "payload": payload, "max_attempts": 2}
    return Work(path="/v1/jobs", body=body, every_s=every_s)
