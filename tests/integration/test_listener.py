"""The listener: what is rung comes in, losses are noticed, and a silent pooler is found out."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pooler import pgbouncer
from recording import RecordingObserver
from rows import connect
from signalstack.core.stage import DatabaseReached, ListenerChanged, RoundTripped
from signalstack.store import link as links
from signalstack.store import listener as store
from signalstack.store.listener import READY, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@asynccontextmanager
async def _listening(
    dsn: str, observer: RecordingObserver, **options: Any
) -> AsyncGenerator[Listener]:
    listener = Listener(dsn, observer, name="test", **options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(listener.run)
        yield listener
        tasks.cancel_scope.cancel()


async def test_notification_reaches_its_owner_and_canaries_do_not(
    database_url: str, observer: RecordingObserver
) -> None:
    heard: list[tuple[str, str]] = []
    rung = anyio.Event()

    def on_notify(channel: str, payload: str) -> None:
        heard.append((channel, payload))
        rung.set()

    async with (
        _listening(database_url, observer, channels=(READY,), on_notify=on_notify) as listener,
        connect(database_url) as other,
    ):
        await observer.seen(RoundTripped)
        await other.execute("SELECT pg_notify('signalstack_ready', 'mail')")
        with anyio.fail_after(5):
            await rung.wait()

        assert listener.fault is None
    assert heard == [(READY, "mail")]


async def test_owner_is_told_to_look_after_each_connection(
    database_url: str, observer: RecordingObserver
) -> None:
    ups: list[None] = []

    async with (
        _listening(database_url, observer, on_up=lambda: ups.append(None)) as listener,
        connect(database_url) as other,
    ):
        await observer.seen(ListenerChanged, up=True)
        await other.execute("SELECT pg_terminate_backend(%s)", (listener.link.backend_pid,))
        await observer.seen(ListenerChanged, up=False)
        await observer.seen(ListenerChanged, up=True, count=2)

        assert listener.fault is None
    assert len(ups) == 2
    assert [fact.up for fact in observer.facts(DatabaseReached)] == [True, False, True]


async def test_unanswered_canary_drops_the_link(
    database_url: str, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_INTERVAL_S", 0.01)
    monkeypatch.setattr(store, "PROBE_DEADLINE_S", 0.1)

    async with _listening(database_url, observer) as listener:
        await observer.seen(RoundTripped)
        # Whatever made PostgreSQL forget it, the connection looks as sound as ever.
        await _unlisten(listener)
        lost = await observer.seen(ListenerChanged, up=False)
        await observer.seen(ListenerChanged, up=True, count=2)

    assert "did not come back" in lost.reason


async def _unlisten(listener: Listener) -> None:
    unlisten = links.Statement("test/unlisten")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "read", {unlisten.name: "UNLISTEN *"}.__getitem__)
        patch.setattr(listener.link, "pooled", True)  # so that it is sent unprepared
        await listener.link.run(links.Call(unlisten))


async def test_refused_canary_is_a_fault_and_no_end(
    database_url: str, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_INTERVAL_S", 0.01)
    texts = {"dispatch/canary": "SELECT pg_notify($1::text, $2::text), 1 / 0, now()"}
    monkeypatch.setattr(links, "read", texts.__getitem__)

    async with _listening(database_url, observer) as listener:
        await observer.seen(ListenerChanged, up=False)

        assert listener.fault is not None
        assert "takes no notification" in listener.fault
        assert listener.link.up


async def test_listener_behind_a_pooler_says_what_to_do(
    database_url: str, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_DEADLINE_S", 0.2)

    with pgbouncer(database_url) as dsn:
        # PgBouncer keeps what comes over a server connection that is lent to nobody to itself.
        async with _listening(dsn, observer, channels=(READY,)) as listener:
            await observer.seen(ListenerChanged, up=False)

            assert listener.fault is not None
            assert "LISTEN_DATABASE_URL" in listener.fault
            assert listener.link.up


async def test_switched_off_listener_says_so(
    database_url: str, observer: RecordingObserver
) -> None:
    async with _listening(database_url, observer, channels=(READY,), listen=False) as listener:
        assert listener.fault is None
        await observer.seen(
            ListenerChanged, up=False, reason="switched off: polling only", wanted=False
        )
        async with connect(database_url) as other:
            cursor = await other.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            )
            assert await cursor.fetchone() == (0,)


async def test_who_hears_the_canary_of_another_sends_none(
    database_url: str, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PROBE_INTERVAL_S", 1.0)
    async with _listening(database_url, observer), connect(database_url) as other:
        await observer.seen(RoundTripped)
        for _ in range(15):
            await other.execute("SELECT pg_notify('signalstack_probe', 'of another')")
            await anyio.sleep(0.1)
        assert len(observer.facts(RoundTripped)) == 1

        await observer.seen(RoundTripped, count=2)
