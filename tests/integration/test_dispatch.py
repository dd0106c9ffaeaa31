"""Claiming, promoting and settling: limits, shares, order, and the fence around each run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from time import time
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from recording import RecordingObserver
from rows import (
    add_jobs,
    add_user,
    add_worker,
    connect,
    dead_jobs,
    lock_job,
    new_write,
    open_dispatch,
    open_link,
    rows,
    until_someone_waits,
    value,
)
from signalstack.core.ids import new_id
from signalstack.core.job import Outcome, Wake
from signalstack.core.stage import Closed
from signalstack.store.claims import NIL, Claim, Lease
from signalstack.store.dispatch import Disowned
from signalstack.store.intake import SESSION as INTAKE_SESSION
from signalstack.store.intake import STATEMENTS as INTAKE_STATEMENTS
from signalstack.store.intake import Intake
from signalstack.store.outcomes import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from uuid import UUID

    from rows import Database
    from signalstack.store.dispatch import Dispatch

_TOKENS = count(1)
# Where nothing has limits, all statements claim alike.
_either_claim = pytest.mark.parametrize(
    "way",
    [
        {"plain": True},
        {},
        {"plain": True, "since": b"\0\1" + bytes(14)},
        {"plain": True, "since": b"\0\1" + bytes(14), "follows": True},
    ],
    ids=["plain", "full", "new", "next"],
)
# One and many are recorded by two statements, and many whose rows may have moved by a third.
_however_settled = pytest.mark.parametrize(
    "how",
    [{"at_once": 1}, {"at_once": 3}, {"at_once": 3, "placed": False}],
    ids=["one", "many", "moved"],
)


@pytest.fixture
async def conn(database_url: str) -> AsyncGenerator[Database]:
    async with connect(database_url) as conn:
        yield conn


@pytest.fixture
async def dispatch(database_url: str) -> AsyncGenerator[Dispatch]:
    async with open_dispatch(database_url, RecordingObserver()) as dispatch:
        yield dispatch


@pytest.fixture
async def worker(conn: Database) -> UUID:
    return await add_worker(conn)


@pytest.fixture
async def tenant(conn: Database) -> UUID:
    return await add_user(conn)


async def _claim(dispatch: Dispatch, worker: UUID, limit: int, **options: Any) -> Claim:
    usual: dict[str, Any] = {
        "lanes": 16,
        "cursor": NIL,
        "cause": Wake.POLL,
        "token": next(_TOKENS),
    }
    queues = options.pop("queues", ["default"])
    return await dispatch.claim(queues, worker_id=worker, limit=limit, **usual | options)


def _ids(claim: Claim) -> list[UUID]:
    return [lease.job_id for lease in claim.leases]


def _ended(lease: Lease, outcome: Outcome, **fields: Any) -> Ended:
    now = time()
    usual: dict[str, Any] = {"started_at": now - 1, "finished_at": now}
    return Ended(lease=lease, outcome=outcome, **usual | fields)


async def test_a_plain_claim_looks_from_an_id_on(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    tenants = [await add_user(conn, str(n)) for n in range(3)]
    old = [job for tenant in tenants for job in await add_jobs(conn, tenant, 2)]
    since = new_id()
    new = [job for tenant in tenants[1:] for job in await add_jobs(conn, tenant, 2)]

    first = await _claim(dispatch, worker, 20, plain=True, since=since.bytes)
    second = await _claim(dispatch, worker, 20, plain=True)

    assert (sorted(_ids(first)), first.drained) == (sorted(new), True)
    assert sorted(_ids(second)) == sorted(old)


@_either_claim
async def test_claim_never_takes_more_than_its_limit(
    dispatch: Dispatch, conn: Database, worker: UUID, way: dict[str, Any]
) -> None:
    tenants = [await add_user(conn, str(n)) for n in range(3)]
    for tenant in tenants:
        await add_jobs(conn, tenant, 20)

    for limit in (1, 2, 5, 7):
        assert len((await _claim(dispatch, worker, limit, **way)).leases) == limit
    assert (
        await value(conn, "SELECT count(*) FROM signalstack.jobs WHERE lease_token IS NOT NULL")
        == 15
    )


@_either_claim
async def test_claim_keeps_its_limit_when_statistics_lie(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID, way: dict[str, Any]
) -> None:
    # Analysed while empty, autovacuum off: the planner takes a large table for a tiny one.
    await conn.execute("ALTER TABLE signalstack.jobs SET (autovacuum_enabled = off)")
    await conn.execute("VACUUM ANALYZE signalstack.jobs")
    await add_jobs(conn, tenant, 500)

    claim = await _claim(dispatch, worker, 21, **way)

    assert len(set(_ids(claim))) == len(claim.leases) == 21
    assert (
        await value(conn, "SELECT count(*) FROM signalstack.jobs WHERE lease_token IS NOT NULL")
        == 21
    )


@_either_claim
async def test_second_worker_skips_what_the_first_is_claiming(
    database_url: str,
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    way: dict[str, Any],
) -> None:
    ids = await add_jobs(conn, tenant, 10)

    async with connect(database_url) as other:
        await other.execute("BEGIN")
        await other.execute(
            "SELECT FROM signalstack.jobs WHERE id = ANY(%s) FOR UPDATE", (ids[:4],)
        )
        claim = await _claim(dispatch, worker, 10, **way)
        await other.execute("ROLLBACK")

    assert _ids(claim) == ids[4:]


@_either_claim
async def test_two_claimers_never_get_the_same_job(
    database_url: str,
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    way: dict[str, Any],
) -> None:
    ids = await add_jobs(conn, tenant, 300)
    second = await add_worker(conn)
    claimed: list[UUID] = []

    async def claim_all(dispatch: Dispatch, worker: UUID) -> None:
        while (claim := await _claim(dispatch, worker, 7, **way)).leases:
            claimed.extend(_ids(claim))

    async with (
        open_dispatch(database_url, RecordingObserver()) as rival,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(claim_all, dispatch, worker)
        await claim_all(rival, second)

    # One that found everything locked stopped early; what is left is claimable still.
    claimed += _ids(await _claim(dispatch, worker, 300, **way))
    assert sorted(claimed) == sorted(ids)


async def test_flood_of_one_tenant_does_not_starve_another(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    small, flood = await add_user(conn, "small"), await add_user(conn, "flood")
    await add_jobs(conn, flood, 5_000)
    (one,) = await add_jobs(conn, small, 1)

    claim = await _claim(dispatch, worker, 10)

    assert one in _ids(claim)
    assert Counter(lease.user_id for lease in claim.leases)[flood.bytes] == 5
    assert not claim.drained
    assert len((await _claim(dispatch, worker, 10)).leases) == 10


async def test_a_claim_tells_before_which_id_no_lane_has_more(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    one, other = await add_user(conn, "one"), await add_user(conn, "other")
    jobs = await add_jobs(conn, one, 20)
    await add_jobs(conn, other, 20)
    await add_jobs(conn, one, 1, priority=-1)
    urgent = await add_jobs(conn, one, 1, priority=1)

    first = await _claim(dispatch, worker, 10, plain=True)
    follows = await _claim(dispatch, worker, 10, plain=True, since=first.reached)

    assert set(urgent) < set(_ids(first))
    assert first.reached == jobs[3].bytes  # five of each, the urgent one among them
    assert min(_ids(follows)) > jobs[3]
    assert follows.reached == jobs[8].bytes


async def test_where_a_lane_got_nothing_or_was_not_reached_no_id_is_told(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    for name in ("one", "two", "three"):
        await add_jobs(conn, await add_user(conn, name), 20)

    nothing_for_one = await _claim(dispatch, worker, 4, plain=True)  # two, two and none
    cut = await _claim(dispatch, worker, 10, plain=True, lanes=2)
    empty = await _claim(dispatch, worker, 10, plain=True, queues=["mail"])

    assert [len(claim.leases) for claim in (nothing_for_one, cut, empty)] == [4, 10, 0]
    assert [claim.reached for claim in (nothing_for_one, cut, empty)] == [None, None, None]


@_either_claim
@pytest.mark.parametrize("queue", ["default", "mail"])
async def test_a_flood_starves_nobody_where_there_is_room_for_one_job_at_a_time(
    dispatch: Dispatch, conn: Database, worker: UUID, way: dict[str, Any], queue: str
) -> None:
    flood, small = await add_user(conn, "flood"), await add_user(conn, "small")
    await add_jobs(conn, flood, 100)
    (one,) = await add_jobs(conn, small if queue == "default" else flood, 1, queue=queue)

    assert one in await _claim_one_by_one(dispatch, worker, **way)


async def test_a_flood_in_a_shared_queue_starves_no_other_where_there_is_room_for_one_job(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await conn.execute("UPDATE signalstack.queues SET concurrency = 999 WHERE name = 'default'")
    await add_jobs(conn, tenant, 100)
    (one,) = await add_jobs(conn, tenant, 1, queue="mail")

    assert one in await _claim_one_by_one(dispatch, worker)


async def test_tenants_of_a_shared_queue_take_turns_from_claim_to_claim(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    await conn.execute("UPDATE signalstack.queues SET concurrency = 999 WHERE name = 'default'")
    names: dict[bytes, str] = {}
    for name, jobs in (("flood", 20), ("one", 2), ("two", 2)):
        tenant = await add_user(conn, name)
        names[tenant.bytes] = name
        await add_jobs(conn, tenant, jobs)

    claims = [await _claim(dispatch, worker, 1) for _ in range(9)]
    both = await _claim(dispatch, worker, 2)

    taken = [names[lease.user_id] for claim in claims for lease in claim.leases]
    assert [sorted(taken[:3]), sorted(taken[3:6])] == [["flood", "one", "two"]] * 2
    assert taken[:3] == taken[3:6]
    assert taken[6:] == ["flood"] * 3
    assert len(both.leases) == 2


@pytest.mark.parametrize("many", [3, 40])
async def test_everyone_in_a_shared_queue_has_a_turn_before_anyone_has_two(
    dispatch: Dispatch, conn: Database, worker: UUID, many: int
) -> None:
    """Also where there are more of them than a claim visits."""
    await conn.execute("UPDATE signalstack.queues SET concurrency = 999 WHERE name = 'default'")
    for n in range(many):
        await add_jobs(conn, await add_user(conn, f"tenant {n}"), 3)

    claims = [await _claim(dispatch, worker, 1, lanes=16) for _ in range(2 * many)]

    taken = [lease.user_id for claim in claims for lease in claim.leases]
    assert len(set(taken[:many])) == many
    assert taken[:many] == taken[many:]


async def _claim_one_by_one(dispatch: Dispatch, worker: UUID, **way: Any) -> list[UUID]:
    """Claim so often that a lane out of two which has a chance is passed over once in 2⁴⁰ times."""
    queues = ["default", "mail"]
    claims = [await _claim(dispatch, worker, 1, queues=queues, **way) for _ in range(40)]
    return [id_ for claim in claims for id_ in _ids(claim)]


async def test_each_lane_gets_an_even_share(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    for n in range(3):
        await add_jobs(conn, await add_user(conn, str(n)), 50)
    await add_jobs(conn, await add_user(conn, "also mails"), 50, queue="mail")

    claim = await _claim(dispatch, worker, 20, queues=["default", "mail"])

    lanes = Counter((lease.user_id, lease.queue) for lease in claim.leases)
    assert sorted(lanes.values()) == [5, 5, 5, 5]


async def test_cursor_walks_all_lanes_and_wraps(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    tenants = sorted([await add_user(conn, str(n)) for n in range(10)])
    for tenant in tenants:
        await add_jobs(conn, tenant, 2)
    walked: list[list[bytes]] = []
    cursor = NIL

    for _ in range(4):
        claim = await _claim(dispatch, worker, 4, lanes=4, cursor=cursor)
        walked.append([lease.user_id for lease in claim.leases])
        cursor = claim.cursor

    def them(*which: int) -> list[bytes]:
        return [tenants[n].bytes for n in which]

    assert [sorted(set(lane)) for lane in walked] == [
        them(0, 1, 2, 3),
        them(4, 5, 6, 7),
        them(8, 9),
        them(0, 1, 2, 3),
    ]


async def test_short_queue_does_not_hide_tenants_of_a_long_one(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    tenants = sorted([await add_user(conn, str(n)) for n in range(12)])
    for tenant in tenants:
        await add_jobs(conn, tenant, 1, queue="long")
    await add_jobs(conn, tenants[0], 30, queue="short")
    seen: set[bytes] = set()
    cursor = NIL

    for _ in range(12):
        claim = await _claim(dispatch, worker, 4, lanes=4, cursor=cursor, queues=["long", "short"])
        seen |= {lease.user_id for lease in claim.leases if lease.queue == "long"}
        cursor = claim.cursor

    assert seen == {tenant.bytes for tenant in tenants}


async def test_lanes_whose_jobs_all_run_take_no_share_and_leave_nothing_to_look_for(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    for n in range(20):
        await add_jobs(conn, await add_user(conn, str(n)), 1)
    await _claim(dispatch, worker, 20, lanes=20)
    waiting = await add_user(conn, "waiting")

    idle = await _claim(dispatch, worker, 10)
    await add_jobs(conn, waiting, 30)
    busy = await _claim(dispatch, worker, 10)

    assert (idle.leases, idle.drained, idle.cursor) == ([], True, NIL)
    assert {lease.user_id for lease in busy.leases} == {waiting.bytes}
    assert len(busy.leases) == 10


async def test_higher_priority_goes_first_and_equals_in_order_of_arrival(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    usual = await add_jobs(conn, tenant, 3)
    low = await add_jobs(conn, tenant, 2, priority=-1)
    high = await add_jobs(conn, tenant, 2, priority=5)

    claims = [await _claim(dispatch, worker, 3) for _ in range(3)]

    assert [id_ for claim in claims for id_ in sorted(_ids(claim))] == [
        *sorted([*high, usual[0]]),
        *sorted([*usual[1:], low[0]]),
        low[1],
    ]


async def test_only_the_given_queues_are_claimed(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, queue="a")
    (mine,) = await add_jobs(conn, tenant, queue="b")

    claim = await _claim(dispatch, worker, 10, queues=["b", "c"])

    assert _ids(claim) == [mine]
    assert claim.drained
    assert (await dispatch.promote(busy=True)).busy == ["a", "b"]


async def test_a_plain_claim_leaves_lanes_with_limits_alone_and_says_so(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 2)
    held = await add_jobs(conn, tenant, 2, queue="slow")
    await add_jobs(conn, tenant, 2, queue="paused")
    await conn.execute(
        "INSERT INTO signalstack.queues (user_id, name, concurrency, paused)"
        " VALUES (%(user)s, 'slow', 1, false), (%(user)s, 'paused', 1, true)",
        {"user": tenant},
    )
    queues = ["default", "slow", "paused"]

    first = await _claim(dispatch, worker, 10, queues=queues, plain=True)
    second = await _claim(dispatch, worker, 10, queues=queues)
    third = await _claim(dispatch, worker, 10, queues=["default", "paused"], plain=True)

    assert {lease.queue for lease in first.leases} == {"default"}
    assert len(first.leases) == 2
    assert not first.plain
    assert _ids(second) == held[:1]
    assert not second.plain
    assert third.leases == []
    assert third.plain


async def test_a_plain_claim_that_was_cut_short_says_so(
    dispatch: Dispatch, conn: Database, worker: UUID
) -> None:
    for n in range(3):
        await add_jobs(conn, await add_user(conn, str(n)))

    assert not (await _claim(dispatch, worker, 10, lanes=3, plain=True)).plain
    assert (await _claim(dispatch, worker, 10, lanes=3, plain=True)).plain


async def test_a_counted_claim_tells_of_the_dead_it_stepped_over_and_not_of_what_runs(
    dispatch: Dispatch, conn: Database, database_url: str, worker: UUID, tenant: UUID
) -> None:
    async with dead_jobs(database_url, conn, 50):
        promotion = await dispatch.promote(busy=True)
        await add_jobs(conn, tenant, 20)
        uncounted = await _claim(dispatch, worker, 10)
        counted = await _claim(dispatch, worker, 10, counted=True)

    # The walk of a claim meets them once: they are of a lane that nobody is in any more.
    assert (uncounted.dead, counted.dead, promotion.dead) == (None, 50, 50)


async def test_empty_claim_is_drained(dispatch: Dispatch, worker: UUID) -> None:
    assert await _claim(dispatch, worker, 10) == Claim(
        leases=[], drained=True, lanes=0, cursor=NIL, wait_s=None, plain=True
    )


async def test_lease_tells_what_the_run_needs(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    (id_,) = await add_jobs(conn, tenant, max_attempts=7)
    await conn.execute(
        "UPDATE signalstack.jobs SET timeout_s = 2.5, traceparent = '00-a-b-01', payload = '[1]'"
    )

    (lease,) = (await _claim(dispatch, worker, 1, cause=Wake.NOTIFY, token=77)).leases

    assert (lease.user_id, lease.id, lease.job_id) == (tenant.bytes, id_.bytes, id_)
    assert (lease.type, lease.queue, lease.attempt, lease.max_attempts) == ("noop", "default", 1, 7)
    assert (lease.timeout_s, lease.traceparent, lease.payload) == (2.5, "00-a-b-01", b"[1]")
    assert (lease.wake, lease.token) == (Wake.NOTIFY, 77)
    assert lease.due_at == pytest.approx(time(), abs=30)


async def test_claim_touches_no_index(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 50)

    await _claim(dispatch, worker, 50)

    # A row version that is not heap-only has an index entry of its own.
    await conn.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
    for index in ("jobs_ready", "jobs_pkey"):
        query = "SELECT count(*) FROM bt_page_items(%s, 1)"
        assert await value(conn, query, f"signalstack.{index}") == 50


async def test_delayed_job_is_claimed_only_once_it_is_due_and_promoted(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    now = datetime.now(UTC)
    (due,) = await add_jobs(conn, tenant, run_at=now - timedelta(seconds=1), queue="a")
    await add_jobs(conn, tenant, run_at=now + timedelta(hours=1), queue="b")
    await add_jobs(conn, tenant, run_at=now + timedelta(hours=2), queue="b")

    before = await _claim(dispatch, worker, 10, queues=["a", "b"])
    promotion = await dispatch.promote()
    after = await _claim(dispatch, worker, 10, queues=["a", "b"])

    assert before.leases == []
    assert (promotion.queues, promotion.count) == (["a"], 1)
    assert promotion.next_s == pytest.approx(3_600, abs=30)
    assert _ids(after) == [due]
    assert after.leases[0].wake is Wake.TIMER


async def test_promotion_of_nothing_expects_nothing(dispatch: Dispatch) -> None:
    promotion = await dispatch.promote()

    assert (promotion.queues, promotion.count, promotion.next_s) == ([], 0, None)


def _without_spot(end: Ended) -> Ended:
    return msgspec.structs.replace(end, lease=msgspec.structs.replace(end.lease, spot=None))


async def _settle(
    dispatch: Dispatch, ended: Sequence[Ended], worker: UUID, *, at_once: int, placed: bool = True
) -> set[bytes]:
    """Settle so many runs at once, whose rows are looked for where they were if they are `placed`.

    Gives the ids of ours.
    """
    if not placed:
        ended = [_without_spot(end) for end in ended]
    batches = [ended[n : n + at_once] for n in range(0, len(ended), at_once)]
    done = [await dispatch.settle(batch, worker_id=worker) for batch in batches]
    return {id_ for settlement in done for id_ in settlement.settled}


@_however_settled
async def test_finished_job_moves_and_is_counted(
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    how: dict[str, Any],
) -> None:
    await add_jobs(conn, tenant, 3)
    leases = (await _claim(dispatch, worker, 3)).leases
    ended = [
        _ended(leases[0], Outcome.SUCCEEDED, result=b'{"n": 1}'),
        _ended(leases[1], Outcome.FAILED, error="no luck"),
        _ended(leases[2], Outcome.CANCELLED),
    ]

    settled = await _settle(dispatch, ended, worker, **how)

    assert settled == {lease.id for lease in leases}
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0
    kept = await rows(
        conn,
        "SELECT id, status, attempt, worker_id, result, last_error, finished_at > started_at "
        "FROM signalstack.finished_jobs ORDER BY id",
    )
    assert kept == [
        (leases[0].job_id, "succeeded", 1, worker, {"n": 1}, None, True),
        (leases[1].job_id, "failed", 1, worker, None, "no luck", True),
        (leases[2].job_id, "cancelled", 1, worker, None, None, True),
    ]
    counted = await rows(
        conn,
        "SELECT sum(jobs_succeeded), sum(jobs_failed), sum(jobs_cancelled)"
        " FROM signalstack.metrics_delta",
    )
    assert counted == [(1, 1, 1)]


@_however_settled
async def test_a_finished_job_keeps_all_that_it_had(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID, how: dict[str, Any]
) -> None:
    await add_jobs(conn, tenant, 3, priority=4)
    await conn.execute(
        "UPDATE signalstack.jobs SET event_id = gen_random_uuid(), idempotency_key = id::text,"
        " traceparent = id::text, timeout_s = 7, payload = to_jsonb(id), wake = 'retry',"
        " created_at = now() - interval '1 hour', run_at = now() - interval '1 minute'"
    )
    leases = (await _claim(dispatch, worker, 3)).leases
    had = await _columns(conn, "jobs")

    await _settle(dispatch, [_ended(lease, Outcome.SUCCEEDED) for lease in leases], worker, **how)

    kept = await _columns(conn, "finished_jobs")
    shared = (had[0].keys() & kept[0].keys()) - {"updated_at", "started_at"}
    assert len(shared) == 17
    assert [{name: row[name] for name in shared} for row in kept] == [
        {name: row[name] for name in shared} for row in had
    ]


async def _columns(conn: Database, table: str) -> list[dict[str, Any]]:
    query = f"SELECT to_jsonb(row) FROM signalstack.{table} AS row ORDER BY id"  # noqa: S608 - ours
    return [columns for (columns,) in await rows(conn, query)]


@_however_settled
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.RETRIED, Outcome.RELEASED])
async def test_outcome_of_a_lost_lease_changes_nothing(
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    outcome: Outcome,
    how: dict[str, Any],
) -> None:
    await add_jobs(conn, tenant, 2)
    ours, lost = (await _claim(dispatch, worker, 2)).leases
    stale = msgspec.structs.replace(lost, token=lost.token + 1)
    before = await rows(conn, "SELECT * FROM signalstack.jobs WHERE id = %s", lost.job_id)

    ended = [_ended(ours, outcome), _ended(stale, outcome)]
    settled = await _settle(dispatch, ended, worker, **how)

    assert settled == {ours.id}
    assert await rows(conn, "SELECT * FROM signalstack.jobs WHERE id = %s", lost.job_id) == before
    for table, key in (("finished_jobs", "id"), ("attempts", "job_id")):
        query = f"SELECT count(*) FROM signalstack.{table} WHERE {key} = %s"  # noqa: S608 - ours
        assert await value(conn, query, lost.job_id) == 0


@_however_settled
async def test_outcome_told_twice_is_recorded_once(
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    how: dict[str, Any],
) -> None:
    await add_jobs(conn, tenant, 2)
    leases = (await _claim(dispatch, worker, 2)).leases
    ended = [_ended(lease, Outcome.SUCCEEDED) for lease in leases]
    again = [_ended(lease, Outcome.FAILED) for lease in leases]

    first = await _settle(dispatch, ended, worker, **how)
    second = await _settle(dispatch, again, worker, **how)

    assert (first, second) == ({lease.id for lease in leases}, set())
    assert await value(conn, "SELECT array_agg(status) FROM signalstack.finished_jobs") == [
        "succeeded",
        "succeeded",
    ]
    assert await value(conn, "SELECT sum(jobs_failed) FROM signalstack.metrics_delta") == 0


async def test_a_run_whose_row_moved_is_told_as_moved_and_settled_by_its_id(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 3)
    leases = (await _claim(dispatch, worker, 3)).leases
    await conn.execute("UPDATE signalstack.jobs SET watch = 1 WHERE id = %s", (leases[1].job_id,))

    ended = [_ended(lease, Outcome.SUCCEEDED) for lease in leases]
    first = await dispatch.settle(ended, worker_id=worker)
    second = await dispatch.settle(first.moved, worker_id=worker)

    assert first.settled == {leases[0].id, leases[2].id}
    assert (first.moved, second.settled) == ([_without_spot(ended[1])], {leases[1].id})
    assert await value(conn, "SELECT count(*) FROM signalstack.finished_jobs") == 3


async def test_what_stands_where_a_row_was_is_left_alone(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant, 4)
    token = next(_TOKENS)
    ours = (await _claim(dispatch, worker, 2, token=token)).leases
    others = (await _claim(dispatch, worker, 2, token=token)).leases
    replace = msgspec.structs.replace
    ended = [
        _ended(replace(lease, spot=other.spot), Outcome.SUCCEEDED)
        for lease, other in zip(ours, others, strict=True)
    ]

    settlement = await dispatch.settle(ended, worker_id=worker)

    assert (settlement.settled, len(settlement.moved)) == (set(), 2)
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 4


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.RETRIED])
async def test_rows_are_locked_in_their_order_whatever_ended_first(
    database_url: str,
    dispatch: Dispatch,
    conn: Database,
    worker: UUID,
    tenant: UUID,
    outcome: Outcome,
) -> None:
    first, second = await add_jobs(conn, tenant, 2)
    leases = (await _claim(dispatch, worker, 2)).leases
    backwards = [_ended(lease, outcome) for lease in reversed(leases)]

    async with connect(database_url) as rival, rival.transaction():
        await lock_job(rival, first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: dispatch.settle(backwards, worker_id=worker))
            await until_someone_waits(conn)
            # Whoever waits for the first row must hold none behind it: nobody can wait for him.
            await lock_job(conn, second)
            await rival.execute("ROLLBACK")


async def test_retried_run_waits_and_leaves_an_attempt(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    (lease,) = (await _claim(dispatch, worker, 1)).leases

    await dispatch.settle(
        [_ended(lease, Outcome.RETRIED, error="try later", delay_s=60.0)], worker_id=worker
    )

    (job,) = await rows(
        conn,
        "SELECT delayed, attempt, lease_token, worker_id, started_at, wake, last_error, "
        "run_at - clock_timestamp() > interval '50 s' FROM signalstack.jobs",
    )
    assert job == (True, 1, None, None, None, "retry", "try later", True)
    attempts = await rows(
        conn, "SELECT attempt, outcome, worker_id, wake, error FROM signalstack.attempts"
    )
    assert attempts == [(1, "retried", worker, "poll", "try later")]


async def test_released_run_is_claimable_at_once_and_rings(
    database_url: str, dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    (lease,) = (await _claim(dispatch, worker, 1)).leases

    async with connect(database_url) as listener:
        await listener.execute("LISTEN signalstack_again")
        await dispatch.settle([_ended(lease, Outcome.RELEASED)], worker_id=worker)
        rung = [bell.payload async for bell in listener.notifies(timeout=5, stop_after=1)]

    assert rung == ["default"]
    (again,) = (await _claim(dispatch, worker, 1)).leases
    assert (again.attempt, again.wake) == (2, Wake.POLL)
    assert await value(conn, "SELECT array_agg(outcome) FROM signalstack.attempts") == ["released"]


async def test_run_that_never_began_gives_its_attempt_back(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    await add_jobs(conn, tenant)
    (lease,) = (await _claim(dispatch, worker, 1)).leases

    await dispatch.settle([_ended(lease, Outcome.RELEASED, started_at=None)], worker_id=worker)

    (again,) = (await _claim(dispatch, worker, 1)).leases
    assert again.attempt == 1
    assert await value(conn, "SELECT count(*) FROM signalstack.attempts") == 0


@_either_claim
async def test_who_watches_a_job_is_told_that_it_began(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID, way: dict[str, Any]
) -> None:
    jobs = await add_jobs(conn, tenant, 3)
    await conn.execute("UPDATE signalstack.jobs SET watch = 2 WHERE id = %s", (jobs[1],))
    await conn.execute('LISTEN "signalstack_changed"')

    await _claim(dispatch, worker, 10, **way)

    told = [notify.payload async for notify in conn.notifies(timeout=5, stop_after=1)]
    assert told == [str(jobs[1])]


@_either_claim
async def test_worker_that_was_given_up_claims_nothing(
    dispatch: Dispatch, conn: Database, tenant: UUID, way: dict[str, Any]
) -> None:
    await add_jobs(conn, tenant)

    claim = await _claim(dispatch, new_id(), 10, **way)

    assert claim.leases == []
    assert await value(conn, "SELECT attempt FROM signalstack.jobs") == 0


async def test_what_the_intake_stores_is_what_a_worker_claims(
    database_url: str, dispatch: Dispatch, worker: UUID, tenant: UUID
) -> None:
    observer = RecordingObserver()
    async with open_link(
        database_url, observer, INTAKE_STATEMENTS, settings=INTAKE_SESSION
    ) as link:
        write = new_write(tenant)
        await Intake(link, observer).submit(write)

    assert _ids(await _claim(dispatch, worker, 10)) == [write.ref]


async def test_what_was_cancelled_in_a_lost_claim_ends_and_runs_no_more(
    dispatch: Dispatch, conn: Database, worker: UUID, tenant: UUID
) -> None:
    cancelled, other = await add_jobs(conn, tenant, 2)
    token = next(_TOKENS)
    await _claim(dispatch, worker, 2, token=token)
    await conn.execute(
        "UPDATE signalstack.jobs SET cancel_requested = true, watch = 1 WHERE id = %s", (cancelled,)
    )
    await conn.execute("LISTEN signalstack_changed")

    done = await dispatch.disown([token])

    closed = Closed(queue="default", type="noop", outcome=Outcome.CANCELLED, count=1)
    assert done == Disowned(count=1, closed=[closed])
    assert _ids(await _claim(dispatch, worker, 2)) == [other]
    ended = "SELECT id, status, attempt, started_at, finished_at IS NULL, worker_id "
    ended += "FROM signalstack.finished_jobs"
    assert await rows(conn, ended) == [(cancelled, "cancelled", 0, None, False, None)]
    counted = "SELECT user_id, jobs_failed, jobs_cancelled FROM signalstack.metrics_delta"
    assert await rows(conn, counted) == [(tenant, 0, 1)]
    told = [each async for each in conn.notifies(timeout=5, stop_after=1)]
    assert [(each.channel, each.payload) for each in told] == [
        ("signalstack_changed", str(cancelled))
    ]


async def test_the_clock_goes_by_the_databases(dispatch: Dispatch) -> None:
    await dispatch.read_clock()

    assert dispatch.now() == pytest.approx(time(), abs=5)


async def test_a_clock_that_was_read_behind_something_slow_is_not_believed(
    dispatch: Dispatch, conn: Database, database_url: str, worker: UUID, tenant: UUID
) -> None:
    (job,) = await add_jobs(conn, tenant)
    (lease,) = (await _claim(dispatch, worker, 1)).leases
    await dispatch.read_clock()
    before = dispatch.now() - time()
    async with connect(database_url) as rival, anyio.create_task_group() as tasks:
        await rival.execute("BEGIN")
        await lock_job(rival, job)
        tasks.start_soon(dispatch.disown, [lease.token])
        await until_someone_waits(conn)
        tasks.start_soon(dispatch.read_clock)
        await anyio.sleep(0.5)  # what makes it slow
        await rival.execute("ROLLBACK")

    # Believed, it would be a quarter of a second ahead.
    assert dispatch.now() - time() == pytest.approx(before, abs=0.1)
