"""The demo itself: everything in one process on a PostgreSQL of its own, and events over HTTP."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import anyio
import httpx2
import msgspec

from signalstack import wiring
from signalstack.core.errors import SignalStackError
from signalstack.core.key import Scope
from signalstack.core.signature import verify
from signalstack.demo.receiver import open_receiver
from signalstack.demo.stopwatch import Journey, Stopwatch
from signalstack.store import migrate
from signalstack.usecases import keys
from signalstack.wiring import Roles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from signalstack.demo.receiver import Receiver, Webhook
    from signalstack.settings import Settings
    from signalstack.wiring import Addresses, Database

FURTHER: Final = 20
_DEADLINE_S: Final = 55.0
_EVENT_DEADLINE_S: Final = 10.0
_EVENT: Final = {
    "type": "demo.order.placed",
    "payload": {"order": "A-1042", "total": {"amount": "99.90", "currency": "EUR"}},
}


class DemoError(SignalStackError):
    """The demo did not come off; the message says where it stopped."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One event that arrived as a webhook: its ids, and its way."""

    event_id: UUID
    job_id: UUID
    journey: Journey


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo did: the first event, and of `FURTHER` ones the one that took the median."""

    receiver_url: str
    first: Passage
    typical: Passage


async def show(settings: Settings, folder: Path | None = None) -> Shown:
    """Send events through a service of the demo's own; what it made is deleted afterwards.

    `folder` is where the database is made for the time being, by default the system's own.

    Raises:
        DemoError: something did not happen in time, or happened wrong.
        EmbeddedError: PostgreSQL cannot start.
    """
    settings = _adapt(settings)
    try:
        with anyio.fail_after(_DEADLINE_S), _make_folder(folder) as data_dir:
            async with wiring.open_database(settings, data_dir=data_dir) as database:
                return await _run(settings, database)
    except TimeoutError:
        raise DemoError(f"the demo was not done within {_DEADLINE_S:g} s") from None


async def _run(settings: Settings, database: Database) -> Shown:
    await migrate.up(database.direct_dsn)
    async with wiring.open_admin_pool(settings, database) as pool:
        token, _ = await keys.create_key(pool, "demo", list(Scope))
    stopwatch = Stopwatch(version=version("signalstack"))
    async with (
        open_receiver() as receiver,
        _serve(settings, database, stopwatch) as base_url,
        httpx2.AsyncClient(
            base_url=f"{base_url}/v1",
            headers={"authorization": f"Bearer {token}"},
            timeout=_EVENT_DEADLINE_S,
            trust_env=False,
        ) as client,
    ):
        return await _send_events(_Sender(client, receiver, stopwatch))


@asynccontextmanager
async def _serve(
    settings: Settings, database: Database, stopwatch: Stopwatch
) -> AsyncGenerator[str | None]:
    """Run API and worker as `up` does, and give the base URL."""
    shutdown, both = anyio.Event(), Roles(api=True, worker=True)
    async with (
        wiring.hold_addresses(settings, both) as held,
        anyio.create_task_group() as tasks,
    ):
        start = partial(wiring.run, settings, database, held, observer=stopwatch, shutdown=shutdown)
        addresses = cast("Addresses", await tasks.start(start))
        yield addresses.base_url
        shutdown.set()


async def _send_events(sender: _Sender) -> Shown:
    await sender.subscribe()
    first = await sender.send()
    further = [await sender.send() for _ in range(FURTHER)]
    further.sort(key=lambda passage: passage.journey.settled)
    return Shown(receiver_url=sender.receiver.url, first=first, typical=further[len(further) // 2])


class _Sender:
    """A client of the service that also sees what arrives at the other end."""

    def __init__(
        self, client: httpx2.AsyncClient, receiver: Receiver, stopwatch: Stopwatch
    ) -> None:
        self.receiver = receiver
        self._client = client
        self._stopwatch = stopwatch
        self._secret = ""

    async def subscribe(self) -> None:
        """Make an endpoint, and a subscription that turns events into webhooks for it."""
        endpoint = await self._post("/endpoints", {"name": "demo", "url": self.receiver.url})
        self._secret = endpoint["secret"]
        payload = {"endpoint_id": endpoint["id"], "body": {"$": "@"}}
        job = {"type": "send_webhook", "payload": payload}
        await self._post("/subscriptions", {"name": "demo", "event_type": "demo.*", "job": job})

    async def send(self) -> Passage:
        """Send one event and follow it to its end."""
        sent_at = perf_counter()
        event = await self._post("/events", _EVENT)
        answered_at = perf_counter()
        if len(event["jobs"]) != 1:
            raise DemoError(f"the event made {len(event['jobs'])} jobs instead of one")
        job_id, event_id = UUID(event["jobs"][0]["id"]), UUID(event["id"])
        try:
            with anyio.fail_after(_EVENT_DEADLINE_S):
                webhook = await self.receiver.webhooks.receive()
                await self._stopwatch.until_settled(job_id)
        except TimeoutError:
            raise DemoError(await self._explain(job_id)) from None
        self._check(webhook, event_id, job_id)
        journey = self._stopwatch.measure(
            job_id, sent_at=sent_at, answered_at=answered_at, received_at=webhook.at
        )
        return Passage(event_id=event_id, job_id=job_id, journey=journey)

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        answer = await self._client.post(path, json=body)
        if not answer.is_success:
            raise DemoError(f"POST {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()

    async def _explain(self, job_id: UUID) -> str:
        job = await self._client.get(f"/jobs/{job_id}")
        return (
            f"no webhook came and was settled within {_EVENT_DEADLINE_S:g} s; the job: {job.text}"
        )

    def _check(self, webhook: Webhook, event_id: UUID, job_id: UUID) -> None:
        now = datetime.now(UTC)
        if not verify([self._secret], webhook.headers, webhook.body, now=now):
            raise DemoError("a webhook arrived whose signature does not hold")
        ids = webhook.headers.get("webhook-id"), msgspec.json.decode(webhook.body).get("id")
        if ids != (str(job_id), str(event_id)):
            raise DemoError(f"a webhook arrived of another job or event: {ids}")


def _adapt(settings: Settings) -> Settings:
    """Keep what cannot spoil the demo: its ports are free ones, its database is its own."""
    return msgspec.structs.replace(
        settings,
        database_url=None,
        listen_database_url=None,
        host="127.0.0.1",
        port=0,
        metrics_host="127.0.0.1",
        metrics_port=0,
        worker_queues=None,
        worker_listen=True,
        handlers=None,
        webhook_allow_private=True,
    )


@contextmanager
def _make_folder(parent: Path | None) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="signalstack-demo-", dir=parent) as folder:
        Path(folder).chmod(0o711)  # root's PostgreSQL runs as another user, who has to pass
        yield Path(folder) / "data"
