"""The listening connection: what is rung comes in here, and a canary proves that it would.

A notification is a hint. It is lost while the connection is down, behind a pooler in transaction
mode, and whenever PostgreSQL says nothing; so after each connect the owner is told to look for
itself, and a notification sent to oneself must come back in time. Whoever hears the canary of
another need not send one: each wakes every connection that listens.
"""

from __future__ import annotations

import random
from time import perf_counter, time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import anyio
import psycopg

from signalstack.core.errors import UnavailableError
from signalstack.core.stage import Heard, ListenerChanged, RoundTripped
from signalstack.store.link import Call, Link, Statement, StatementError
from signalstack.store.outage import translate_errors
from signalstack.store.pool import connection_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anyio.abc import TaskStatus

    from signalstack.core.stage import Observer

READY: Final = "signalstack_ready"
LATER: Final = "signalstack_later"
AGAIN: Final = "signalstack_again"  # what waits is older than its bell
RESUMED: Final = "signalstack_resumed"  # whose queue, and which: nothing holds it any more
CANCEL: Final = "signalstack_cancel"
CHANGED: Final = "signalstack_changed"
VACANT: Final = "signalstack_vacant"
PROBE: Final = "signalstack_probe"
# At the latest; some are sooner, so that one of many sends it for all.
PROBE_INTERVAL_S: Final = 15.0
_SOONEST: Final = 0.75
PROBE_DEADLINE_S: Final = 5.0
_CANARY: Final = Statement("dispatch/canary")


def _ignore(*_: object) -> None:
    """Leave a call that nobody asked for unanswered."""


class Listener:
    """Owns one link that listens; `on_notify(channel, payload)` is called for each notification."""

    def __init__(
        self,
        dsn: str,
        observer: Observer,
        *,
        name: str,
        channels: Iterable[str] = (),
        on_notify: Callable[[str, str], None] = _ignore,
        on_up: Callable[[], None] = _ignore,
        statements: Iterable[Statement] = (),
        settings: Mapping[str, str] | None = None,
        listen: bool = True,
    ) -> None:
        self._name = name
        self._dsn = dsn
        self._id = uuid4().hex
        self._answered = anyio.Event()
        self._proven_at = 0.0
        self._on_notify = on_notify
        self._on_up = on_up
        self._observer = observer
        self._listen = listen
        self._silent: str | None = None
        self.link = Link(
            name,
            dsn,
            {_CANARY, *statements},
            observer,
            settings=settings,
            channels=(*channels, PROBE) if listen else (),
            on_notify=self._heard,
        )

    @property
    def fault(self) -> str | None:
        """Why notifications do not arrive, or None when they do or nobody wants them."""
        if not self.link.up:
            return self.link.reason
        return self._silent

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep listening until cancelled; started when the first connection stands."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._keep)
            task_status.started()
            if self._listen:
                tasks.start_soon(self._probe_forever)

    async def _keep(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        await self.link.keep(on_change=self._changed, task_status=task_status)

    def _changed(self, reason: str | None) -> None:
        if reason is None:
            self._silent = None
            # What was rung while nobody listened is lost, so look once after LISTEN.
            self._on_up()
        if self._listen:
            self._tell(self.fault)
        else:
            self._observer.tell(
                ListenerChanged(
                    name=self._name, up=False, reason="switched off: polling only", wanted=False
                )
            )

    def _heard(self, channel: str, payload: str) -> None:
        self._observer.tell(Heard(at=time()))
        if channel != PROBE:
            self._on_notify(channel, payload)
            return
        # A pooler may hand on this one and no other.
        if not self.link.pooled:
            self._proven_at = anyio.current_time()
            self._note(None)
        if payload == self._id:
            self._answered.set()

    async def _probe_forever(self) -> None:
        due_at = interval_s = 0.0
        while True:
            due_at = max(due_at, self._proven_at + interval_s)
            if anyio.current_time() >= due_at:
                if self.link.up:
                    await self._probe()
                interval_s = PROBE_INTERVAL_S * random.uniform(_SOONEST, 1)  # noqa: S311 - no secret
                due_at = anyio.current_time() + interval_s
            await anyio.sleep_until(due_at)

    async def _probe(self) -> None:
        self._answered = anyio.Event()
        began = perf_counter()
        try:
            await self._send_canary()
        except UnavailableError:
            return  # the link says so itself, and reconnects
        except StatementError as error:
            # Nobody's NOTIFY gets through just now, say because its queue is full.
            self._note(f"PostgreSQL takes no notification: {error}")
            return
        with anyio.move_on_after(PROBE_DEADLINE_S):
            await self._answered.wait()
            self._observer.tell(RoundTripped(duration_s=perf_counter() - began))
            self._note(None)
            return
        if self.link.pooled:
            self._note(
                "LISTEN is silent behind a pooler: set LISTEN_DATABASE_URL to a direct connection"
            )
        else:
            self.link.drop("a notification to oneself did not come back")

    async def _send_canary(self) -> None:
        if self.link.pooled:
            # A pooler hands on what a client rings for itself, while it has the server connection
            # that listens, and nothing that others ring: only a stranger's canary proves anything.
            with translate_errors(), anyio.move_on_after(PROBE_DEADLINE_S):
                async with await psycopg.AsyncConnection.connect(
                    connection_string(self._dsn, "signalstack canary"),
                    autocommit=True,
                    prepare_threshold=None,
                ) as stranger:
                    await stranger.execute("SELECT pg_notify(%s, %s)", (PROBE, self._id))
        else:
            await self.link.run(Call(_CANARY, (PROBE.encode(), self._id.encode())))

    def _note(self, silent: str | None) -> None:
        if silent != self._silent:
            self._silent = silent
            self._tell(silent)

    def _tell(self, fault: str | None) -> None:
        self._observer.tell(
            ListenerChanged(name=self._name, up=fault is None, reason=fault or "listening")
        )
