"""The intake: shared commits, who pays for a bad row, and keys that let nothing in twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pooler import pgbouncer
from recording import RecordingObserver
from rows import add_user, connect, new_event, new_job, new_write, open_link, rows, value
from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.stage import Flushed
from signalstack.store import intake as store
from signalstack.store.intake import Intake
from signalstack.store.writes import Receipt, Write

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator
    from uuid import UUID

    from rows import Database


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.fixture
async def tenant(conn: Database) -> UUID:
    return await add_user(conn)


@pytest.fixture(params=["direct", "pooled"])
def way_in(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """Give the database's DSN, or one through a pooler: single writes go by other statements."""
    if request.param == "pooled":
        with pgbouncer(database_url) as pooled:
            yield pooled
    else:
        yield database_url


def _link(database_url: str, observer: RecordingObserver) -> Any:
    return open_link(database_url, observer, store.STATEMENTS, settings=store.SESSION)


async def _submit_all(
    writes: Iterable[tuple[Intake, Write]],
) -> list[Receipt | InvalidError | UnavailableError]:
    """Submit all at once; what each came to, in order."""
    outcomes: dict[int, Receipt | InvalidError | UnavailableError] = {}

    async def submit(nth: int, intake: Intake, write: Write) -> None:
        try:
            outcomes[nth] = await intake.submit(write)
        except (InvalidError, UnavailableError) as error:
            outcomes[nth] = error

    async with anyio.create_task_group() as tasks:
        for nth, (intake, write) in enumerate(writes):
            tasks.start_soon(submit, nth, intake, write)
    return [outcomes[nth] for nth in sorted(outcomes)]


async def _job_ids(conn: Database) -> set[UUID]:
    return {id_ for (id_,) in await rows(conn, "SELECT id FROM signalstack.jobs")}


async def test_concurrent_writers_share_commits(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    writes = [new_write(tenant) for _ in range(200)]

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        receipts = await _submit_all((intake, write) for write in writes)

    flushed = observer.facts(Flushed)
    assert len(flushed) <= 5
    assert sum(fact.writes for fact in flushed) == 200
    assert all(isinstance(receipt, Receipt) and receipt.stored for receipt in receipts)
    assert await _job_ids(conn) == {write.ref for write in writes}


async def test_what_callers_send_when_they_are_answered_goes_along_with_what_waits(
    database_url: str, observer: RecordingObserver, tenant: UUID
) -> None:
    """Else those who were first would for ever take turns with those who came behind them."""
    async with _link(database_url, observer) as link, _link(database_url, observer) as beside:
        intake = Intake(link, observer, beside=beside)

        async def repeat() -> None:
            for _ in range(20):
                await intake.submit(new_write(tenant))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(repeat)

    assert 20 in {fact.writes for fact in observer.facts(Flushed)}


async def test_every_field_of_a_job_is_kept(
    way_in: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    job = new_job(
        queue="mail",
        priority=-7,
        delay_s=90.0,
        timeout_s=1.5,
        max_attempts=9,
        traceparent="00-aa-bb-01",
        payload='{"ü": [1, null]}'.encode(),
    )

    async with _link(way_in, observer) as link:
        receipt = await Intake(link, observer).submit(new_write(tenant, job, key="k"))

    (row,) = await rows(
        conn,
        "SELECT type, queue, priority, delayed, run_at - created_at, timeout_s, max_attempts, "
        "traceparent, payload, wake, idempotency_key, created_at FROM signalstack.jobs",
    )
    assert row[:4] == ("noop", "mail", -7, True)
    assert row[4].total_seconds() == 90
    assert row[5:] == (
        1.5,
        9,
        "00-aa-bb-01",
        {"ü": [1, None]},
        "timer",
        "k",
        receipt.created_at,
    )


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param({"payload": b'"\\u0000"'}, id="NUL in JSON"),
        pytest.param({"payload": b'{"cut": '}, id="broken JSON"),
        pytest.param({"payload": b"\xff\xfe"}, id="broken UTF-8"),
        pytest.param({"type": "no\x00op"}, id="NUL in text"),
        pytest.param({"type": "\ud800"}, id="lone surrogate"),
        pytest.param({"priority": 70_000}, id="number out of range"),
    ],
)
async def test_bad_row_hurts_only_its_own_caller(
    database_url: str,
    observer: RecordingObserver,
    conn: Database,
    tenant: UUID,
    poison: dict[str, Any],
) -> None:
    good = [new_write(tenant) for _ in range(4)]
    bad = new_write(tenant, new_job(), new_job(**poison))
    event = new_write(tenant, event=new_event())

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        # The first leaves at once; those behind it gather into one flush.
        outcomes = await _submit_all(
            (intake, write) for write in (good[0], good[1], bad, good[2], event)
        )
        again = await intake.submit(good[3])

    assert [isinstance(outcome, InvalidError) for outcome in outcomes] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert again.stored
    assert await _job_ids(conn) == {write.ref for write in good}
    assert await value(conn, "SELECT count(*) FROM signalstack.events") == 1


async def test_bad_row_among_many_costs_few_more_flushes(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    writes = [new_write(tenant) for _ in range(256)]
    writes[100] = new_write(tenant, new_job(payload=b"{"))

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        outcomes = await _submit_all((intake, write) for write in writes)

    assert [n for n, told in enumerate(outcomes) if isinstance(told, InvalidError)] == [100]
    assert len(await _job_ids(conn)) == 255
    # Halving 256 takes eight steps; one by one it would be as many flushes as writes.
    assert len(observer.facts(Flushed)) <= 12


async def test_bad_row_by_itself_is_refused(
    way_in: str, observer: RecordingObserver, tenant: UUID
) -> None:
    async with _link(way_in, observer) as link:
        intake = Intake(link, observer)
        for poison in ({"payload": b"{"}, {"type": "\ud800"}):
            with pytest.raises(InvalidError):
                await intake.submit(new_write(tenant, new_job(**poison)))

        assert (await intake.submit(new_write(tenant))).stored


async def test_second_use_of_a_key_comes_back_with_its_owner(
    way_in: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    first, same = new_write(tenant, key="k"), new_write(tenant, key="k")
    other = new_write(tenant, key="k", fingerprint=b"other body")

    async with _link(way_in, observer) as link:
        intake = Intake(link, observer)
        receipts = [await intake.submit(write) for write in (first, same, other)]

    assert [receipt.stored for receipt in receipts] == [True, False, False]
    for receipt in receipts[1:]:
        assert receipt.owner is not None
        assert (receipt.owner.ref, receipt.owner.fingerprint) == (first.ref, b"body")
    assert await _job_ids(conn) == {first.ref}
    assert await value(conn, "SELECT sum(jobs_created) FROM signalstack.metrics_delta") == 1


async def test_key_used_twice_at_once_is_owned_once(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    # The first write occupies the link, so that the others gather behind it.
    ahead = new_write(tenant)
    rivals = [new_write(tenant, new_job(), new_job(), key="k") for _ in range(3)]

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        _, *receipts = await _submit_all((intake, write) for write in (ahead, *rivals))

    assert [isinstance(r, Receipt) and r.stored for r in receipts] == [True, False, False]
    assert all(isinstance(r, Receipt) and r.owner for r in receipts[1:])
    assert len(await _job_ids(conn)) == 3


async def test_key_used_by_two_processes_at_once_is_owned_once(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    writes = [new_write(tenant, key=f"k{n % 20}") for n in range(400)]

    async with _link(database_url, observer) as one, _link(database_url, observer) as two:
        intakes = [Intake(one, observer), Intake(two, observer)]
        outcomes = await _submit_all((intakes[n // 20 % 2], w) for n, w in enumerate(writes))

    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    owners = {
        write.key.key: write.ref
        for write, receipt in zip(writes, receipts, strict=True)
        if receipt.stored and write.key is not None
    }
    assert sum(receipt.stored for receipt in receipts) == 20
    for write, receipt in zip(writes, receipts, strict=True):
        if receipt.owner is not None and write.key is not None:
            assert receipt.owner.ref == owners[write.key.key]
    assert await _job_ids(conn) == set(owners.values())


async def test_key_of_an_uncommitted_rival_is_waited_for(
    way_in: str, database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    async with _link(way_in, observer) as link, connect(database_url) as rival:
        intake = Intake(link, observer)
        for ends, stored in (("ROLLBACK", True), ("COMMIT", False)):
            await rival.execute("BEGIN")
            await rival.execute(
                "INSERT INTO signalstack.idempotency VALUES "
                "(%s, 'jobs', %s, 'theirs', gen_random_uuid(), now() + interval '1 hour')",
                (tenant, ends),
            )
            write = new_write(tenant, key=ends)
            outcomes: list[Receipt] = []
            async with anyio.create_task_group() as tasks:

                async def submit(write: Write = write, into: list[Receipt] = outcomes) -> None:
                    into.append(await intake.submit(write))

                tasks.start_soon(submit)
                await _until_waiting(conn)
                await rival.execute(ends.encode())
            assert outcomes[0].stored is stored


async def _until_waiting(conn: Database) -> None:
    with anyio.fail_after(5):
        while not await value(conn, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await anyio.lowlevel.checkpoint()


async def test_same_key_of_another_tenant_or_route_is_another_key(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    stranger = await add_user(conn, "stranger")
    event = new_event()
    writes = [
        new_write(tenant, key="k"),
        new_write(stranger, key="k"),
        new_write(tenant, event=event, key="k"),
    ]

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        outcomes = await _submit_all((intake, write) for write in writes)

    assert all(isinstance(outcome, Receipt) and outcome.stored for outcome in outcomes)


async def test_key_whose_time_is_over_is_taken_over(
    way_in: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    first, second = new_write(tenant, key="k"), new_write(tenant, key="k", fingerprint=b"new")

    async with _link(way_in, observer) as link:
        intake = Intake(link, observer)
        await intake.submit(first)
        await conn.execute("UPDATE signalstack.idempotency SET expires_at = now()")
        receipt = await intake.submit(second)

    assert receipt.stored
    (kept,) = await rows(
        conn, "SELECT ref, fingerprint, expires_at > now() FROM signalstack.idempotency"
    )
    assert kept == (second.ref, b"new", True)


@pytest.mark.parametrize("delays_s", [[None], [60.0], [None, 60.0], []])
@pytest.mark.parametrize("key", [None, "k"])
async def test_event_is_stored_with_its_jobs_and_counted_once(
    way_in: str,
    observer: RecordingObserver,
    conn: Database,
    tenant: UUID,
    key: str | None,
    delays_s: list[float | None],
) -> None:
    at = datetime(2031, 2, 3, 4, 5, 6, 7, UTC)
    event = new_event(
        payload=b'{"n": 1}',
        source="shop",
        subject="o-1",
        external_id="7",
        occurred_at=at,
        extensions=b'{"x": 1}',
    )
    jobs = [new_job(delay_s=delay_s, priority=3, payload=b"[2]") for delay_s in delays_s]

    async with _link(way_in, observer) as link:
        await Intake(link, observer).submit(new_write(tenant, *jobs, event=event, key=key))

    (kept,) = await rows(
        conn,
        "SELECT id, type, payload, source, subject, external_id, occurred_at, extensions, job_ids "
        "FROM signalstack.events",
    )
    assert kept[:6] == (event.id, "order.paid", {"n": 1}, "shop", "o-1", "7")
    assert kept[6:] == (at, {"x": 1}, [job.id for job in jobs])
    made = await rows(
        conn,
        "SELECT id, delayed, event_id, idempotency_key, priority, max_attempts, payload, wake "
        "FROM signalstack.jobs ORDER BY id",
    )
    assert made == [
        (job.id, delayed, event.id, None, 3, 3, [2], "timer" if delayed else None)
        for job in jobs
        for delayed in [job.delay_s is not None]
    ]
    counts = await rows(conn, "SELECT events_received, jobs_created FROM signalstack.metrics_delta")
    assert counts == [(1, len(jobs))]


async def test_event_matched_out_of_date_leaves_neither_itself_nor_its_key(
    way_in: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    await conn.execute("UPDATE signalstack.users SET subscriptions_version = 3")
    stale = new_write(tenant, new_job(), event=new_event(), key="k", version=2)
    fresh = new_write(tenant, new_job(), event=new_event(), key="k", version=3)

    async with _link(way_in, observer) as link:
        intake = Intake(link, observer)
        refused, stored = await intake.submit(stale), await intake.submit(fresh)

    assert (refused.stored, refused.owner) == (False, None)
    assert stored.stored
    assert await value(conn, "SELECT array_agg(id) FROM signalstack.events") == [fresh.ref]
    assert await _job_ids(conn) == {fresh.jobs[0].id}


async def test_event_of_nobody_is_not_stored(
    database_url: str, observer: RecordingObserver, conn: Database
) -> None:
    async with _link(database_url, observer) as link:
        receipt = await Intake(link, observer).submit(new_write(new_id(), event=new_event()))

    assert (receipt.stored, receipt.owner) == (False, None)
    assert await value(conn, "SELECT count(*) FROM signalstack.events") == 0


async def test_each_flush_rings_once_a_queue(
    database_url: str, observer: RecordingObserver, tenant: UUID
) -> None:
    jobs = [new_job(queue=queue) for queue in ("a", "b", "a", "a")]
    later = new_job(queue="a", delay_s=60.0)

    async with _link(database_url, observer) as link, connect(database_url) as listener:
        await listener.execute("LISTEN signalstack_ready")
        await listener.execute("LISTEN signalstack_later")
        await Intake(link, observer).submit(new_write(tenant, *jobs, later))
        rung = [
            (bell.channel, bell.payload)
            async for bell in listener.notifies(timeout=5, stop_after=3)
        ]

    assert sorted(rung) == [
        ("signalstack_later", "a"),
        ("signalstack_ready", "a"),
        ("signalstack_ready", "b"),
    ]


async def test_lost_backend_is_told_to_all_who_wait_and_the_intake_goes_on(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    writes = [new_write(tenant, key="held"), *(new_write(tenant) for _ in range(3))]

    async with _link(database_url, observer) as link, connect(database_url) as rival:
        intake = Intake(link, observer)
        await rival.execute("BEGIN")
        await rival.execute(
            "INSERT INTO signalstack.idempotency VALUES (%s, 'jobs', 'held', '', %s, now())",
            (tenant, tenant),
        )
        outcomes: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def submit_all() -> None:
                outcomes.extend(await _submit_all((intake, write) for write in writes))

            tasks.start_soon(submit_all)
            await _until_waiting(conn)
            await conn.execute("SELECT pg_terminate_backend(%s)", (link.backend_pid,))
        await rival.execute("ROLLBACK")
        with anyio.fail_after(5):
            while not link.up:
                await anyio.lowlevel.checkpoint()
        again = await intake.submit(new_write(tenant))

    assert isinstance(outcomes[0], UnavailableError)
    assert again.stored


async def test_write_that_nobody_waits_for_any_more_is_not_sent(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    ahead, given_up = new_write(tenant), new_write(tenant)

    async with _link(database_url, observer) as link:
        intake = Intake(link, observer)
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as gone:
            tasks.start_soon(intake.submit, ahead)
            gone.start_soon(intake.submit, given_up)
            # Both have been submitted after one turn of the loop; no answer can be there yet.
            await anyio.lowlevel.checkpoint()
            gone.cancel_scope.cancel()
        await intake.submit(new_write(tenant))

    assert given_up.ref not in await _job_ids(conn)
    assert ahead.ref in await _job_ids(conn)


async def test_what_waits_for_a_silent_postgresql_has_a_limit_and_then_is_stored(
    database_url: str, observer: RecordingObserver, conn: Database, tenant: UUID
) -> None:
    large = b'"' + b"x" * 250_000 + b'"'
    writes = [new_write(tenant, new_job(payload=large)) for _ in range(200)]  # 50 MB

    async with _link(database_url, observer) as link, connect(database_url) as rival:
        intake = Intake(link, observer)
        await rival.execute("BEGIN")
        await rival.execute("LOCK TABLE signalstack.jobs")
        outcomes: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def submit_all() -> None:
                outcomes.extend(await _submit_all((intake, write) for write in writes))

            tasks.start_soon(submit_all)
            await _until_waiting(conn)
            await rival.execute("ROLLBACK")

    stored = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, UnavailableError)]
    assert sum(len(large) for _ in stored) <= store.WAITING_BYTES + len(large)
    assert len(stored) + len(refused) == len(writes)
    assert all("too much waits" in str(error) for error in refused)
    assert len(await _job_ids(conn)) == len(stored) > 100


async def test_lock_held_too_long_is_told_to_all_at_once(
    database_url: str, observer: RecordingObserver, tenant: UUID
) -> None:
    settings = store.SESSION | {"lock_timeout": "300ms"}
    async with (
        open_link(database_url, observer, store.STATEMENTS, settings=settings) as link,
        connect(database_url) as rival,
    ):
        await rival.execute("BEGIN")
        await rival.execute("LOCK TABLE signalstack.jobs")
        intake = Intake(link, observer)

        with anyio.fail_after(5):  # halved again and again it would take 30 s
            outcomes = await _submit_all((intake, new_write(tenant)) for _ in range(100))

    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)


async def test_lock_held_too_long_is_unavailability(
    database_url: str, observer: RecordingObserver, tenant: UUID
) -> None:
    settings = store.SESSION | {"lock_timeout": "50ms"}
    async with (
        open_link(database_url, observer, store.STATEMENTS, settings=settings) as link,
        connect(database_url) as rival,
    ):
        await rival.execute("BEGIN")
        await rival.execute("LOCK TABLE signalstack.jobs")

        with pytest.raises(UnavailableError):
            await Intake(link, observer).submit(new_write(tenant))
