"""The link under everything that can happen to a connection, also behind a real PgBouncer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from pooler import pgbouncer
from recording import RecordingObserver
from rows import connect, open_link, rows, value
from signalstack.core.errors import UnavailableError
from signalstack.core.stage import DatabaseReached, Queried
from signalstack.store import link as links
from signalstack.store.link import Call, Link, Statement, StatementError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

ADD = Statement("test/add")
ECHO = Statement("test/echo")
FAIL = Statement("test/fail")
NAP = Statement("test/nap")
PREPARED = Statement("test/prepared")
SETTING = Statement("test/setting")
SLEEP = Statement("test/sleep")
READ_ONLY = Statement("test/read_only")
RING = Statement("test/ring")
TEXTS = {
    ADD.name: "INSERT INTO kept (name) VALUES ($1::text)",
    ECHO.name: "SELECT $1::text",
    FAIL.name: "SELECT 1 / length($1::text)",
    # Waits for as long as somebody holds the lock, so that a test decides when it ends.
    NAP.name: "SELECT pg_advisory_xact_lock_shared(1) IS NULL",
    PREPARED.name: "SELECT count(*)::text FROM pg_prepared_statements",
    SLEEP.name: "SELECT pg_sleep(0.7) IS NULL",
    SETTING.name: "SELECT current_setting('lock_timeout')",
    READ_ONLY.name: "SELECT set_config('default_transaction_read_only', 'on', false)",
    RING.name: "SELECT pg_notify($1::text, $2::text) IS NULL",
}
STATEMENTS = tuple(Statement(name) for name in TEXTS)


@pytest.fixture(autouse=True)
def statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have statements of the tests' own beside those of the files."""
    monkeypatch.setattr(links, "read", TEXTS.__getitem__)


@pytest.fixture(autouse=True)
async def table(database_url: str) -> None:
    async with connect(database_url) as conn:
        await conn.execute("CREATE TABLE public.kept (name text)")


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


async def _kept(dsn: str) -> list[str]:
    async with connect(dsn) as conn:
        return [name for (name,) in await rows(conn, "SELECT name FROM kept ORDER BY name")]


async def test_refused_statement_undoes_its_whole_batch_and_no_other(
    database_url: str, observer: RecordingObserver
) -> None:
    async with open_link(database_url, observer, STATEMENTS) as link:
        before = link.send(Call(ADD, (b"before",)))
        broken = link.send(Call(ADD, (b"undone",)), Call(FAIL, (b"",)), Call(ADD, (b"skipped",)))
        after = link.send(Call(ADD, (b"after",)), Call(ECHO, (b"!",)))

        assert len(await before) == 1
        with pytest.raises(StatementError) as refused:
            await broken
        assert [result.get_value(0, 0) for result in (await after)[1:]] == [b"!"]

    assert refused.value.sqlstate == "22012"
    assert await _kept(database_url) == ["after", "before"]


async def test_cancelled_caller_leaves_link_and_other_callers_alone(
    database_url: str, observer: RecordingObserver
) -> None:
    async with (
        open_link(database_url, observer, STATEMENTS) as link,
        connect(database_url) as gate,
    ):
        await gate.execute("SELECT pg_advisory_lock(1)")
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(_cancel_when_waiting, database_url, scope)
                await link.run(Call(NAP))
            other = link.send(Call(ECHO, (b"still here",)))
            await gate.execute("SELECT pg_advisory_unlock(1)")
            (result,) = await other
            assert scope.cancelled_caught
            assert result.get_value(0, 0) == b"still here"
            assert link.up


async def _cancel_when_waiting(dsn: str, scope: anyio.CancelScope) -> None:
    await _until_blocked(dsn)
    scope.cancel()


async def _until_blocked(dsn: str) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with connect(dsn) as conn:
        with anyio.fail_after(5):
            while not await value(conn, query):
                await anyio.lowlevel.checkpoint()


async def test_lost_backend_fails_what_is_in_flight_and_the_link_comes_back(
    database_url: str, observer: RecordingObserver
) -> None:
    changes: list[str | None] = []
    link = Link("test", database_url, STATEMENTS, observer)
    back = anyio.Event()

    def changed(reason: str | None) -> None:
        changes.append(reason)
        if reason is None and len(changes) > 1:
            back.set()

    async def keep(*, task_status: TaskStatus[None]) -> None:
        await link.keep(on_change=changed, task_status=task_status)

    async with anyio.create_task_group() as tasks, connect(database_url) as other:
        await tasks.start(keep)
        await other.execute("SELECT pg_advisory_lock(1)")
        in_flight = [link.send(Call(NAP)), link.send(Call(ECHO, (b"behind",)))]
        first = link.backend_pid
        await other.execute("SELECT pg_terminate_backend(%s)", (first,))
        for future in in_flight:
            with pytest.raises(UnavailableError):
                await future
        with anyio.fail_after(5):
            await back.wait()
        (result,) = await link.run(Call(ECHO, (b"again",)))
        assert result.get_value(0, 0) == b"again"
        assert link.backend_pid != first
        tasks.cancel_scope.cancel()

    assert changes[0] is None
    assert changes[1] is not None
    assert changes[-1] is None
    # Whichever link it is: without one of them its process does not reach the database.
    assert [fact.up for fact in observer.facts(DatabaseReached, name="test")] == [True, False, True]


async def test_loss_is_noticed_however_the_socket_tells_it(
    database_url: str, observer: RecordingObserver
) -> None:
    # A backend that ends with bytes unread resets the connection, which uvloop does not tell. It
    # happens by luck: several links make it likely.
    async with connect(database_url) as other:
        await other.execute("SELECT pg_advisory_lock(1)")
        for _ in range(15):
            async with open_link(database_url, observer, STATEMENTS, timeout_s=60) as link:
                waiting = [link.send(Call(NAP)), link.send(Call(ECHO, (b"unread",)))]
                await other.execute("SELECT pg_terminate_backend(%s)", (link.backend_pid,))
                with anyio.fail_after(5):
                    for future in waiting:
                        with pytest.raises(UnavailableError):
                            await future


async def test_closed_link_refuses_at_once_and_says_why(
    database_url: str, observer: RecordingObserver
) -> None:
    async with open_link(database_url, observer, STATEMENTS) as link:
        await link.run(Call(ECHO, (b"x",)))

    with pytest.raises(UnavailableError, match="closed"):
        await link.run(Call(ECHO, (b"x",)))


async def test_notifications_arrive_while_a_batch_is_running(
    database_url: str, observer: RecordingObserver
) -> None:
    heard: list[tuple[str, str]] = []
    rung = anyio.Event()

    def on_notify(channel: str, payload: str) -> None:
        heard.append((channel, payload))
        rung.set()

    async with (
        open_link(
            database_url, observer, STATEMENTS, channels=("bell",), on_notify=on_notify
        ) as link,
        connect(database_url) as other,
    ):
        rung_by_itself = link.send(Call(RING, (b"bell", b"mine")), Call(ECHO, (b"x",)))
        await rung_by_itself
        with anyio.fail_after(5):
            await rung.wait()
        rung = anyio.Event()
        await other.execute("NOTIFY bell, 'other'")
        with anyio.fail_after(5):
            while len(heard) < 2:
                # PostgreSQL tells notifications between batches: keep some coming.
                await link.run(Call(ECHO, (b"busy",)))

    assert heard == [("bell", "mine"), ("bell", "other")]


async def test_parameters_and_results_larger_than_any_socket_buffer_pass(
    database_url: str, observer: RecordingObserver
) -> None:
    large = b"x" * 5_000_000

    async with open_link(database_url, observer, STATEMENTS) as link:
        sent = [link.send(Call(ECHO, (large,)), Call(ECHO, (b"small",))) for _ in range(3)]
        got = [[result.get_value(0, 0) for result in await future] for future in sent]

    assert got == [[large, b"small"]] * 3


async def test_silence_beyond_the_timeout_drops_the_link(
    database_url: str, observer: RecordingObserver
) -> None:
    async with (
        open_link(database_url, observer, STATEMENTS, timeout_s=0.2) as link,
        connect(database_url) as gate,
    ):
        await gate.execute("SELECT pg_advisory_lock(1)")

        with pytest.raises(UnavailableError, match="in time"):
            await link.run(Call(NAP))


async def test_what_waits_behind_a_slow_statement_has_its_own_time(
    database_url: str, observer: RecordingObserver
) -> None:
    async with open_link(database_url, observer, STATEMENTS, timeout_s=1.0) as link:
        # Each of them takes less than the link's time, and both together more.
        for future in [link.send(Call(SLEEP)) for _ in range(2)]:
            await future

        assert link.opened == 1


async def test_a_server_that_turned_read_only_is_left(
    database_url: str, observer: RecordingObserver
) -> None:
    """Another one that the DSN names may be the primary by now."""
    async with open_link(database_url, observer, STATEMENTS) as link:
        await link.run(Call(READ_ONLY))
        opened = link.opened
        behind = [link.send(Call(ADD, (b"a",))), link.send(Call(ECHO, (b"behind",)))]
        for future in behind:
            with pytest.raises(UnavailableError, match="read-only"):
                await future
        with anyio.fail_after(5):
            while link.opened == opened:
                await anyio.lowlevel.checkpoint()
        await link.run(Call(ADD, (b"b",)))

    assert await _kept(database_url) == ["b"]


async def test_statements_are_prepared_once_and_told_by_name(
    database_url: str, observer: RecordingObserver
) -> None:
    async with open_link(database_url, observer, STATEMENTS) as link:
        await link.run(Call(ECHO, (b"x",)), Call(ECHO, (b"y",)))
        (prepared,) = await link.run(Call(PREPARED))

        assert prepared.get_value(0, 0) == str(len(STATEMENTS)).encode()
    assert [fact.query for fact in observer.facts(Queried)] == [ECHO.name, PREPARED.name]


async def test_statement_that_does_not_fit_the_schema_is_named(
    database_url: str, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXTS, ADD.name, "SELECT nothing FROM nowhere")
    link = Link("test", database_url, (ADD,), observer)

    with pytest.raises(StatementError, match="test/add"):
        await link.open()

    assert not link.up


async def test_address_where_nobody_listens_is_unavailable(observer: RecordingObserver) -> None:
    link = Link("test", "postgresql://me:secret@127.0.0.1:1/db", (), observer)

    with pytest.raises(UnavailableError, match="cannot connect") as refused:
        await link.open()

    assert "secret" not in str(refused.value)


async def test_settings_hold_for_the_session(
    database_url: str, observer: RecordingObserver
) -> None:
    async with open_link(
        database_url, observer, STATEMENTS, settings={"lock_timeout": "1234ms"}
    ) as link:
        (result,) = await link.run(Call(SETTING))

    assert not link.pooled
    assert result.get_value(0, 0) == b"1234ms"


async def test_link_behind_a_pooler_works_and_leaves_no_session_state(
    database_url: str, observer: RecordingObserver
) -> None:
    with pgbouncer(database_url) as dsn:
        await _check_behind_a_pooler(dsn, observer)


async def _check_behind_a_pooler(dsn: str, observer: RecordingObserver) -> None:
    settings = {"lock_timeout": "1234ms"}
    async with open_link(dsn, observer, STATEMENTS, settings=settings) as link:
        sent = [link.send(Call(ECHO, (str(n).encode(),)), Call(SETTING)) for n in range(50)]
        got = [[result.get_value(0, 0) for result in await future] for future in sent]
        with pytest.raises(StatementError):
            await link.run(Call(ECHO, (b"x",)), Call(FAIL, (b"",)))
        await link.run(Call(ECHO, (b"on",)))

        assert link.pooled
    assert got == [[str(n).encode(), b"0"] for n in range(50)]
