"""Jobs handed to a worker at rest: who gets them, who does not, and what a bell is worth."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import msgspec
import pytest

from pooler import pgbouncer
from recording import RecordingObserver
from rows import (
    add_jobs,
    add_worker,
    connect,
    dead_jobs,
    lock_job,
    new_event,
    new_job,
    new_write,
    open_dispatch,
    take,
    until_someone_waits,
    value,
)
from signalstack.core.ids import new_id
from signalstack.core.job import Wake
from signalstack.core.stage import Claimed, Finished, HandedOver, Queried, Started
from signalstack.store import chores
from signalstack.worker.claimer import Claimer
from working import NEVER_S, POLL_S, Crew, Shop, open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from uuid import UUID

    from rows import Database
    from signalstack.core.handler import Context
    from signalstack.store.claims import Lease
    from signalstack.store.writes import Write
    from signalstack.worker.host import Host

OPEN = "SELECT count(*) FROM signalstack.invitations WHERE token IS NOT NULL"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as shop:
        yield shop


# One job that comes by itself, one that comes so with a key or an event, and one that comes by a
# statement for many are stored by files of their own.
ways = pytest.mark.parametrize("way", ["alone", "keyed", "others"])
poolers = pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])


async def _store(shop: Shop, way: str, queue: str = "default") -> UUID:
    """Store one job in one of these ways; behind a pooler a statement for many serves one too."""
    job = new_job(type="echo", queue=queue)
    write = new_write(shop.user_id, job, key=None if way == "alone" else str(job.id))
    async with _way_in(shop, pooled=way == "others") as taken:
        await taken.submit(write)
    return job.id


@asynccontextmanager
async def _way_in(shop: Shop, *, pooled: bool) -> AsyncGenerator[Shop]:
    """Give the shop itself, or the same one behind a pooler."""
    if pooled:
        with pgbouncer(shop.dsn) as dsn:
            async with open_shop(dsn) as behind:
                yield behind
    else:
        yield shop


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Database]:
    async with connect(database_url) as conn:
        yield conn


async def _echo(payload: Any, _context: Context) -> object:
    await anyio.lowlevel.checkpoint()
    return payload


HANDLERS = {"echo": (Any, _echo)}


async def _at_rest(crew: Crew, times: int = 1) -> None:
    """Wait until the worker has invited so many times."""
    await crew.facts.seen(Queried, query="invitations/open", count=times)


def _handed(crew: Crew) -> int:
    return len(crew.facts.facts(HandedOver, outcome="taken"))


def _claimed(crew: Crew) -> int:
    return sum(fact.count for fact in crew.facts.facts(Claimed))


async def test_a_job_that_comes_alone_is_handed_over_and_never_claimed(shop: Shop) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        jobs: list[Any] = []
        for n in range(5):
            jobs.append(await shop.enqueue("echo", {"n": n}, timeout_s=7.5, traceparent=None))
            await crew.ended(jobs[-1])
            await _at_rest(crew, n + 2)

        assert (_handed(crew), _claimed(crew)) == (5, 0)
        assert [(await shop.ran(job)).result for job in jobs] == [{"n": n} for n in range(5)]
        assert {(await shop.ran(job)).attempt for job in jobs} == {1}
        (started,) = crew.facts.facts(Started, job=jobs[0])
        assert (started.wake, started.queue, started.type) == (Wake.NOTIFY, "default", "echo")
        assert started.due_at <= started.at


@poolers
async def test_a_keyed_job_and_the_one_job_of_an_event_are_handed_over_too(
    shop: Shop, *, pooled: bool
) -> None:
    jobs = [new_job(type="echo", payload=payload) for payload in (b"1", b"2", b"3", b"4")]
    plain, keyed, caused, named = jobs
    events = [new_event(payload=b"{}"), new_event(payload=b"{}", external_id="7")]
    writes = [
        new_write(shop.user_id, plain),
        new_write(shop.user_id, keyed, key="k"),
        new_write(shop.user_id, caused, event=events[0]),
        new_write(shop.user_id, named, event=events[1], key="7"),
    ]
    async with _way_in(shop, pooled=pooled) as taken, shop.worker(HANDLERS) as crew:
        for nth, write in enumerate(writes):
            await _at_rest(crew, nth + 1)
            assert (await taken.submit(write)).stored
            await crew.ended(write.jobs[0].id)

        assert (_handed(crew), _claimed(crew)) == (4, 0)
        assert [(await shop.ran(write.jobs[0].id)).result for write in writes] == [1, 2, 3, 4]


@poolers
@pytest.mark.parametrize("event", [False, True], ids=["job", "event"])
async def test_a_repeat_takes_no_invitation(
    shop: Shop, conn: Database, *, event: bool, pooled: bool
) -> None:
    def write() -> Write:
        caused_by = new_event(payload=b"{}") if event else None
        return new_write(shop.user_id, new_job(type="echo"), event=caused_by, key="k")

    async with _way_in(shop, pooled=pooled) as taken, shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        first = write()
        await taken.submit(first)
        await crew.ended(first.jobs[0].id)
        await _at_rest(crew, 2)

        again = await taken.submit(write())

        assert not again.stored
        assert again.owner is not None
        assert again.owner.ref == first.ref
        assert await value(conn, OPEN) == 1
        assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0


@poolers
async def test_an_event_that_was_matched_out_of_date_takes_no_invitation(
    shop: Shop, conn: Database, *, pooled: bool
) -> None:
    job = new_job(type="echo")
    stale = new_write(shop.user_id, job, event=new_event(payload=b"{}"), version=7)
    async with _way_in(shop, pooled=pooled) as taken, shop.worker(HANDLERS) as crew:
        await _at_rest(crew)

        assert not (await taken.submit(stale)).stored
        assert await value(conn, OPEN) == 1


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (None, False),
        ("x" * 5_998, False),  # 6,000 bytes with its quotes
        ("x" * 5_999, True),
        ("\x01" * 999, False),  # written with six bytes each
        ("\N{SNOWMAN}" * 1_999, False),
        ("\N{SNOWMAN}" * 2_000, True),
    ],
)
async def test_a_payload_comes_with_the_bell_or_is_read_when_the_run_begins(
    shop: Shop, payload: object, *, read: bool
) -> None:
    async with shop.worker({"t" * 100: (Any, _echo)}) as crew:
        await _at_rest(crew)
        job = await shop.enqueue("t" * 100, payload, queue="q" * 100)
        await crew.ended(job)

        assert _handed(crew) == 1
        assert bool(crew.facts.facts(Queried, query="dispatch/payload")) == read
        assert (await shop.ran(job)).result == payload


async def test_what_has_a_single_attempt_is_claimed(shop: Shop) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        await crew.ended(await shop.enqueue("echo", max_attempts=1))

        assert (_handed(crew), _claimed(crew)) == (0, 1)


async def test_several_jobs_at_once_and_delayed_ones_are_claimed(shop: Shop) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        jobs = await shop.enqueue_many("echo", [1, 2, 3])
        jobs.append(await shop.enqueue("echo", delay_s=0.05))
        for job in jobs:
            await crew.ended(job)

        assert (_handed(crew), _claimed(crew)) == (0, 4)


@pytest.mark.parametrize(
    "held", ["paused = true", "concurrency = 3", "rate_limit = 5, rate_per_s = 1, rate_burst = 5"]
)
@pytest.mark.parametrize("whose", ["the tenant's", "the operator's"])
@ways
async def test_a_queue_that_is_held_back_hands_nothing_over(
    shop: Shop, conn: Database, way: str, held: str, whose: str
) -> None:
    owner = shop.user_id if whose == "the tenant's" else "00000000-0000-0000-0000-000000000000"
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name) VALUES (%s, 'slow')", (owner,)
    )
    hold = f"UPDATE signalstack.queues SET {held} WHERE name = 'slow'"  # noqa: S608 - as above
    await conn.execute(hold.encode())
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        job = await _store(shop, way, queue="slow")
        if held.startswith("paused"):
            await crew.ended(await shop.enqueue("echo"))  # of another queue: that goes on
            assert await value(conn, "SELECT lease_token IS NULL FROM signalstack.jobs")
            assert _handed(crew) == 1
        else:
            await crew.ended(job)
            assert _handed(crew) == 0


@ways
async def test_nobody_is_overtaken(shop: Shop, conn: Database, way: str) -> None:
    async with shop.worker({**HANDLERS, "noop": (Any, _echo)}, on_board=()) as crew:
        await _at_rest(crew)
        # Stored without a bell, as if it had just been stored and nobody had claimed it yet.
        (waiting,) = await add_jobs(conn, shop.user_id)
        second = await _store(shop, way)  # it is rung for, so that both are claimed
        await crew.ended(second)
        await crew.ended(waiting)

        assert (_handed(crew), _claimed(crew)) == (0, 2)
        order = [fact.job for fact in crew.facts.facts(Started)]
        assert order == [waiting, second]


@ways
async def test_only_what_a_worker_serves_is_handed_to_it(shop: Shop, way: str) -> None:
    async with (
        shop.worker(HANDLERS, queues=("mail",)) as mail,
        shop.worker(HANDLERS, queues=("default",)) as rest,
    ):
        await _at_rest(mail)
        await _at_rest(rest)
        for n in range(4):
            await mail.ended(await _store(shop, way, queue="mail"))
            await _at_rest(mail, n + 2)

        assert (_handed(mail), _handed(rest)) == (4, 0)


async def test_beside_dead_rows_nobody_invites_since_who_stores_a_job_would_step_over_them(
    shop: Shop, database_url: str, conn: Database
) -> None:
    async with AsyncExitStack() as held:
        await held.enter_async_context(dead_jobs(database_url, conn, 6_000))
        async with shop.worker(HANDLERS, poll_interval_s=POLL_S) as crew:
            await crew.facts.seen(Queried, query="dispatch/promote", count=2)
            await crew.ended(await shop.enqueue("echo"))
            assert (_handed(crew), crew.facts.facts(Queried, query="invitations/open")) == (0, [])

            await held.aclose()
            await conn.execute("VACUUM signalstack.jobs")
            await _at_rest(crew)
            await crew.ended(await shop.enqueue("echo"))
            assert _handed(crew) == 1


async def test_a_busy_worker_does_not_invite(shop: Shop, conn: Database) -> None:
    gate = anyio.Event()

    async def hold(_payload: Any, _context: Context) -> None:
        await gate.wait()

    async with shop.worker({**HANDLERS, "hold": (Any, hold)}, concurrency=2) as crew:
        await _at_rest(crew)
        busy = await shop.enqueue_many("hold", [None] * 2)
        await crew.facts.seen(Queried, query="invitations/close")
        assert await value(conn, OPEN) == 0
        late = await shop.enqueue("echo")

        gate.set()
        for job in (*busy, late):
            await crew.ended(job)
        assert (_handed(crew), _claimed(crew)) == (0, 3)


async def test_nobody_is_invited_by_a_worker_that_only_polls(shop: Shop, conn: Database) -> None:
    async with shop.worker(HANDLERS, listen=False) as crew:
        await crew.ended(await shop.enqueue("echo"))

        assert await value(conn, "SELECT count(*) FROM signalstack.invitations") == 0


@ways
async def test_an_invitation_of_a_session_that_is_gone_is_not_taken(
    shop: Shop, conn: Database, way: str
) -> None:
    await _invite(conn, await add_worker(conn), lock_key=7)
    job = await _store(shop, way)

    assert await value(conn, "SELECT worker_id IS NULL FROM signalstack.jobs WHERE id = %s", job)
    async with shop.worker(HANDLERS) as crew:
        await crew.ended(job)


@ways
async def test_an_invitation_that_outlived_its_worker_is_not_taken_and_goes(
    shop: Shop, conn: Database, way: str
) -> None:
    await conn.execute("SELECT pg_advisory_lock(7)")  # its session lives on
    await _invite(conn, new_id(), lock_key=7)
    job = await _store(shop, way)

    assert await value(conn, "SELECT worker_id IS NULL FROM signalstack.jobs WHERE id = %s", job)
    async with shop.pool.connection() as pooled:
        await chores.rescue(pooled, orphans=True)
    assert await value(conn, "SELECT count(*) FROM signalstack.invitations") == 0


async def test_the_invitation_of_the_buried_goes_with_them(shop: Shop, conn: Database) -> None:
    dead = await add_worker(conn)
    await _invite(conn, dead, lock_key=7)
    await shop.bury(dead)

    assert await value(conn, "SELECT count(*) FROM signalstack.invitations") == 0


@ways
async def test_two_who_store_at_once_do_not_take_the_same_invitation(
    shop: Shop, conn: Database, database_url: str, way: str
) -> None:
    worker = await add_worker(conn)
    await conn.execute("SELECT pg_advisory_lock(7)")
    await _invite(conn, worker, lock_key=7)
    async with (
        connect(database_url) as first,
        connect(database_url) as second,
        first.transaction(),
        second.transaction(),
    ):
        assert await take(first, way, shop.user_id) == 1
        assert await take(second, way, shop.user_id) is None


@ways
async def test_who_may_not_take_an_invitation_leaves_it_free_for_others(
    shop: Shop, conn: Database, database_url: str, way: str
) -> None:
    await conn.execute("SELECT pg_advisory_lock(7)")
    await _invite(conn, await add_worker(conn), lock_key=7)
    await add_jobs(conn, shop.user_id)
    async with (
        connect(database_url) as first,
        connect(database_url) as second,
        first.transaction(),
        second.transaction(),
    ):
        assert await take(first, way, shop.user_id) is None  # one waits there
        assert await take(second, way, shop.user_id, "other") == 1


@ways
async def test_a_lane_with_many_runs_hands_nothing_over(
    shop: Shop, conn: Database, database_url: str, way: str
) -> None:
    await _invite(conn, await add_worker(conn), lock_key=7)
    await add_jobs(conn, shop.user_id, 200)
    await conn.execute("UPDATE signalstack.jobs SET lease_token = 5")
    async with connect(database_url) as host:
        await host.execute("SELECT pg_advisory_lock(7)")
        async with conn.transaction(force_rollback=True):
            assert await take(conn, way, shop.user_id) is None

        await conn.execute(
            "DELETE FROM signalstack.jobs WHERE id = (SELECT id FROM signalstack.jobs LIMIT 1)"
        )
        assert await take(conn, way, shop.user_id) == 1


async def test_a_worker_that_was_given_up_for_dead_invites_under_its_new_name(shop: Shop) -> None:
    async with shop.worker(HANDLERS, lease_s=0.9) as crew:
        await _at_rest(crew)
        (old,) = [r["id"] for r in await shop.rows("SELECT id FROM signalstack.workers")]
        await shop.bury_unseen(old)
        await _at_rest(crew, 2)
        job = await shop.enqueue("echo")
        await crew.ended(job)

        assert (await shop.ran(job)).worker_id != old
        assert _handed(crew) == 1
        assert not crew.facts.facts(HandedOver, outcome="lost")


async def _invite(conn: Database, worker: UUID, *, lock_key: int) -> None:
    await conn.execute(
        "INSERT INTO signalstack.invitations VALUES (%s, 'bell', '{}', %s, 1)", (worker, lock_key)
    )


def _take_none(leases: list[Lease], *, more: bool) -> None:
    assert (leases, more) == ([], False)


async def _take_unheard(shop: Shop, conn: Database) -> UUID:
    """Take an invitation and lease a job to it, as the intake does, but ring no bell."""
    job = new_id()
    await conn.execute(
        "WITH host AS MATERIALIZED"
        " (SELECT * FROM signalstack.take_invitation('default', %(user)s))"
        " INSERT INTO signalstack.jobs (user_id, id, type, queue, priority, delayed, max_attempts,"
        " run_at, payload, attempt, worker_id, lease_token, started_at, wake)"
        " SELECT %(user)s, %(id)s, 'echo', 'default', 0, false, 3, now(), '5', 1, worker_id, token,"
        " now(), 'notify' FROM host WHERE token IS NOT NULL",
        {"user": shop.user_id, "id": job},
    )
    assert await value(conn, "SELECT lease_token IS NOT NULL FROM signalstack.jobs") is True
    return job


async def test_a_job_whose_bell_was_lost_runs_all_the_same(shop: Shop, conn: Database) -> None:
    async with shop.worker(HANDLERS, poll_interval_s=POLL_S) as crew:
        await _at_rest(crew)
        job = await _take_unheard(shop, conn)
        await crew.ended(job)

        assert crew.facts.facts(HandedOver, outcome="lost")
        ran = await shop.ran(job)
        assert (ran.result, ran.attempt) == (5, 1)  # the unheard lease took no attempt
        await _at_rest(crew, 2)


async def test_a_job_whose_bell_was_lost_with_the_connection_runs(
    shop: Shop, conn: Database
) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        job = await _take_unheard(shop, conn)
        assert await shop.kill("claim") == 1
        await crew.ended(job)

        assert (await shop.ran(job)).attempt == 1
        await _at_rest(crew, 2)
        await crew.ended(await shop.enqueue("echo"))
        assert _handed(crew) == 1


async def test_a_job_that_was_handed_over_as_the_lease_was_lost_runs(
    shop: Shop, conn: Database
) -> None:
    # The worker has its new name already, and is told only now that the old one is dead.
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        job = await _take_unheard(shop, conn)
        cast("Host", vars(crew.worker)["_host"]).disinherited()
        await crew.ended(job)

        assert (await shop.ran(job)).attempt == 1


async def test_what_comes_into_doubt_while_another_is_given_back_is_not_forgotten(
    shop: Shop, conn: Database, database_url: str
) -> None:
    async with open_dispatch(database_url, RecordingObserver()) as dispatch:
        claimer = Claimer(
            dispatch,
            RecordingObserver(),
            queues=(),
            worker_id=new_id,
            room=lambda: 0,
            slots=0,
            put=_take_none,
            on_claimed=lambda: None,
            on_polled=lambda _token: None,
            hears=lambda: True,
            poll_interval_s=NEVER_S,
            rng=random.Random(),  # noqa: S311 - nothing is claimed
        )
        (job,) = await add_jobs(conn, shop.user_id)
        await conn.execute("UPDATE signalstack.jobs SET attempt = 1, lease_token = 9")
        # The first question waits for the row; the second token comes up in the meantime.
        async with connect(database_url) as holder, anyio.create_task_group() as tasks:
            await holder.execute("BEGIN")
            await lock_job(holder, job)
            claimer.doubt(9)
            tasks.start_soon(claimer.give_back)
            await until_someone_waits(conn)
            claimer.doubt(8)
            await holder.execute("ROLLBACK")
        vars(claimer)["_doubtful"] |= dict.fromkeys(vars(claimer)["_doubtful"], 0.0)
        assert set(vars(claimer)["_doubtful"]) == {8, 9}
        await conn.execute("UPDATE signalstack.jobs SET attempt = 1, lease_token = 8")
        assert await claimer.give_back()
        assert await value(conn, "SELECT lease_token IS NULL FROM signalstack.jobs")


async def test_a_refused_invitation_is_not_taken_for_a_lost_one(shop: Shop, conn: Database) -> None:
    await conn.execute("ALTER TABLE signalstack.invitations ADD CHECK (token < 0)")
    async with shop.worker(HANDLERS, poll_interval_s=POLL_S) as crew:
        await _at_rest(crew, 3)
        await crew.ended(await shop.enqueue("echo"))

        assert not crew.facts.facts(HandedOver)


async def test_a_worker_that_leaves_takes_its_invitation_along(shop: Shop, conn: Database) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        job = await _take_unheard(shop, conn)
        await crew.stop()

        assert await value(conn, "SELECT count(*) FROM signalstack.invitations") == 0
        left = await shop.rows("SELECT attempt, lease_token FROM signalstack.jobs")
        assert left == [{"attempt": 0, "lease_token": None}]
    async with shop.worker(HANDLERS) as crew:
        await crew.ended(job)


@pytest.mark.parametrize("forged", ["junk", "a token", "[]", '{"token": 1}'])
async def test_a_bell_without_the_token_is_not_believed(
    shop: Shop, conn: Database, forged: str
) -> None:
    async with shop.worker(HANDLERS) as crew:
        await _at_rest(crew)
        bell = await value(conn, "SELECT channel FROM signalstack.invitations")
        made_up = new_id()
        run = [7, shop.user_id, made_up, "echo", "default", 3, None, 0.0, None, True, None]
        text = msgspec.json.encode(run).decode() if forged == "a token" else forged
        await conn.execute("SELECT pg_notify(%s, %s)", (bell, text))
        await crew.ended(await shop.enqueue("echo"))  # rung behind it

        assert not crew.facts.facts(Finished, job=made_up)
        assert _handed(crew) == 1
