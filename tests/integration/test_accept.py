"""Accepting jobs and events: what is refused and where, what is a repeat, what matches."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from recording import RecordingObserver
from rows import add_user, connect, new_event, open_link, rows, value
from signalstack.core.errors import InvalidError, NotFoundError, UnavailableError
from signalstack.core.ids import new_id
from signalstack.core.job import JobRequest
from signalstack.core.stage import Enqueued, EventReceived
from signalstack.core.subscription import JobTemplate, SubscriptionRequest
from signalstack.core.template import Template, render
from signalstack.handlers import registry
from signalstack.handlers.noop import NOOP
from signalstack.store import intake as store
from signalstack.store.intake import Intake
from signalstack.usecases import matching, queues, subscribe
from signalstack.usecases.accept import Acceptor
from signalstack.usecases.matching import MADE_BYTES
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from rows import Database
    from signalstack.core.budget import Budget
    from signalstack.core.document import Json
    from signalstack.core.event import NewEvent
    from signalstack.core.handler import Context
    from signalstack.store.pool import Pool
    from signalstack.usecases.accept import AcceptedEvent
    from signalstack.usecases.accept import Enqueued as Accepted

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Greeting(msgspec.Struct, forbid_unknown_fields=True):
    to: str
    times: int = 1


async def greet(_payload: Greeting, _context: Context) -> None:
    """Stand in the registry; nothing is run here."""


REGISTRY = registry.build([NOOP], {"greet": (Greeting, greet)})


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


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@asynccontextmanager
async def _accepting(dsn: str, pool: Pool, observer: RecordingObserver) -> AsyncGenerator[Acceptor]:
    """Give an acceptor as one API process has it."""
    async with open_link(dsn, observer, store.STATEMENTS, settings=store.SESSION) as link:
        yield Acceptor(
            pool,
            Intake(link, observer),
            REGISTRY,
            observer,
            queues.KnownQueues(pool),
            max_attempts=3,
        )


@pytest.fixture
async def acceptor(
    database_url: str, pool: Pool, observer: RecordingObserver
) -> AsyncGenerator[Acceptor]:
    async with _accepting(database_url, pool, observer) as acceptor:
        yield acceptor


async def _enqueue(
    acceptor: Acceptor,
    tenant: UUID,
    *jobs: JobRequest,
    key: str | None = None,
    body: bytes = b"1",
    in_batch: bool = False,
) -> Accepted:
    return await acceptor.enqueue(
        tenant,
        jobs,
        idempotency_key=key,
        fingerprint=body,
        traceparent=TRACEPARENT,
        in_batch=in_batch,
    )


async def _accept(
    acceptor: Acceptor, tenant: UUID, event: NewEvent, *, key: str | None = None, body: bytes = b""
) -> AcceptedEvent:
    return await acceptor.accept_event(
        tenant, event, idempotency_key=key, fingerprint=body, traceparent=TRACEPARENT
    )


async def _subscribe(pool: Pool, tenant: UUID, **fields: Any) -> None:
    job = JobTemplate(type="noop", **fields.pop("job", {}))
    usual: dict[str, Any] = {"name": "all", "event_type": "*", "job": job}
    await subscribe.create(pool, tenant, SubscriptionRequest(**usual | fields), registry=REGISTRY)


async def _payloads(conn: Database, accepted: AcceptedEvent) -> list[Any]:
    """Read what the jobs of an event are given, in its order."""
    query = "SELECT payload FROM signalstack.jobs WHERE id = %s"
    return [await value(conn, query, job.id) for job in accepted.jobs]


def _greeting(**fields: Any) -> JobRequest:
    usual: dict[str, Any] = {"type": "greet", "payload": {"to": "Ada"}}
    return JobRequest(**usual | fields)


async def test_job_is_stored_with_defaults_and_told(
    acceptor: Acceptor, conn: Database, tenant: UUID, observer: RecordingObserver
) -> None:
    accepted = await _enqueue(acceptor, tenant, _greeting())

    (job,) = accepted.jobs
    kept = await rows(
        conn,
        "SELECT id, type, queue, priority, max_attempts, payload, created_at, traceparent "
        "FROM signalstack.jobs",
    )
    assert kept == [
        (job.id, "greet", "default", 0, 3, {"to": "Ada"}, accepted.created_at, job.traceparent)
    ]
    assert accepted.replayed_id is None
    assert observer.facts(Enqueued, queue="default", type="greet", count=1)
    (span,) = observer.spans
    assert (span.name, span.parent, span.open) == ("send default", TRACEPARENT, False)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"type": "nothing"}, "/type"),
        ({"queue": "nowhere"}, "/queue"),
        ({"payload": {"to": 7}}, "/payload/to"),
        ({"payload": {"to": "Ada", "from": "me"}}, "/payload/from"),
        ({"payload": None}, "/payload"),
    ],
)
async def test_wrong_job_is_refused_where_it_is_wrong_and_nothing_is_stored(
    acceptor: Acceptor, conn: Database, tenant: UUID, wrong: dict[str, Any], pointer: str
) -> None:
    for jobs, prefix in (
        ([_greeting(**wrong)], ""),
        ([_greeting(**wrong)], "/jobs/0"),
        ([_greeting(), _greeting(**wrong)], "/jobs/1"),
    ):
        with pytest.raises(InvalidError) as refused:
            await _enqueue(acceptor, tenant, *jobs, in_batch=bool(prefix))

        assert [fault.pointer for fault in refused.value.faults] == [prefix + pointer]
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0


async def test_job_is_due_either_at_a_time_or_after_a_delay(
    acceptor: Acceptor, tenant: UUID
) -> None:
    both = msgspec.convert(
        {"type": "noop", "run_at": "2030-01-01T00:00:00Z", "delay_s": 1.0}, JobRequest
    )

    with pytest.raises(InvalidError, match="/delay_s"):
        await _enqueue(acceptor, tenant, both)


async def test_queue_is_known_from_the_moment_it_is_declared(
    acceptor: Acceptor, pool: Pool, tenant: UUID
) -> None:
    await queues.declare(pool, ["mail"])

    accepted = await _enqueue(acceptor, tenant, _greeting(queue="mail"))

    assert accepted.jobs[0].queue == "mail"


async def test_repeated_request_finds_the_first_job_and_another_body_is_refused(
    acceptor: Acceptor, conn: Database, tenant: UUID
) -> None:
    first = await _enqueue(acceptor, tenant, _greeting(), key="k")
    again = await _enqueue(acceptor, tenant, _greeting(), key="k")
    with pytest.raises(InvalidError, match="/idempotency_key"):
        await _enqueue(acceptor, tenant, _greeting(), key="k", body=b"2")

    assert first.replayed_id is None
    assert again.replayed_id == first.jobs[0].id
    assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 1


async def test_subscription_is_in_force_at_once_in_every_process(
    database_url: str, acceptor: Acceptor, pool: Pool, tenant: UUID
) -> None:
    observer = RecordingObserver()
    async with _accepting(database_url, pool, observer) as elsewhere:
        # Both have matched before, and keep what they know.
        before = [await _accept(each, tenant, new_event()) for each in (acceptor, elsewhere)]
        await _subscribe(pool, tenant)
        after = [await _accept(each, tenant, new_event()) for each in (acceptor, elsewhere)]
        (found,) = await subscribe.list_page(pool, tenant, limit=10)
        await subscribe.delete(pool, tenant, found.id)
        at_last = [await _accept(each, tenant, new_event()) for each in (acceptor, elsewhere)]

    assert [len(event.jobs) for event in (*before, *after, *at_last)] == [0, 0, 1, 1, 0, 0]


async def test_subscriptions_of_one_tenant_see_nothing_of_another(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    await _subscribe(pool, tenant)
    stranger = await add_user(conn, "stranger")

    theirs = await _accept(acceptor, stranger, new_event())
    ours = await _accept(acceptor, tenant, new_event())

    assert (len(theirs.jobs), len(ours.jobs)) == (0, 1)


async def test_only_matching_subscriptions_make_jobs_in_their_order(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    await queues.declare(pool, ["mail"])
    await _subscribe(pool, tenant, name="1", event_type="order.paid", job={"queue": "mail"})
    await _subscribe(pool, tenant, name="2", event_type="order.*", filter={"total": [7]})
    await _subscribe(pool, tenant, name="3", event_type="order.*", filter={"total": [8]})
    await _subscribe(pool, tenant, name="4", event_type="invoice.*")
    await _subscribe(pool, tenant, name="5", active=False)

    accepted = await _accept(acceptor, tenant, new_event(payload=b'{"total": 7}'))

    assert [job.queue for job in accepted.jobs] == ["mail", "default"]
    kept = await value(conn, "SELECT job_ids FROM signalstack.events")
    assert kept == [job.id for job in accepted.jobs]


async def test_job_without_a_template_gets_the_event_itself(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    await _subscribe(pool, tenant, name="itself")
    await _subscribe(
        pool, tenant, name="template", job={"payload": {"n": {"$": "payload.n"}, "is": "set"}}
    )
    event = new_event(payload=b'{"n":7}', source="shop", extensions=b'{"x":1}')

    await _accept(acceptor, tenant, event)

    itself, made = [
        row[0] for row in await rows(conn, "SELECT payload FROM signalstack.jobs ORDER BY id")
    ]
    assert itself == {
        "id": str(event.id),
        "type": "order.paid",
        "source": "shop",
        "subject": None,
        "external_id": None,
        "occurred_at": None,
        "payload": {"n": 7},
        "extensions": {"x": 1},
    }
    assert made == {"n": 7, "is": "set"}


async def test_template_that_fails_keeps_the_event_and_says_so_in_the_job(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    await _subscribe(
        pool, tenant, name="broken", job={"payload": {"n": {"$": "length(payload.n)"}}}
    )
    await _subscribe(pool, tenant, name="sound")

    accepted = await _accept(acceptor, tenant, new_event(payload=b'{"n":7}'))

    assert len(accepted.jobs) == 2
    payload = await value(
        conn, "SELECT payload FROM signalstack.jobs WHERE id = %s", accepted.jobs[0].id
    )
    assert set(payload) == {"template_error", "subscription_id"}
    assert "/job/payload" in payload["template_error"]


async def test_subscriptions_that_cost_too_much_fail_by_themselves(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    dear = [{"numeric": [">", n + 1]} for n in range(30)]
    await _subscribe(pool, tenant, name="filter", filter={"a": dear})
    for n in range(4):
        payload = {"n": {"$": "length(payload.a[?@ > `0`])"}}
        await _subscribe(pool, tenant, name=f"template {n}", job={"payload": payload})
    await _subscribe(pool, tenant, name="cheap", job={"payload": {"type": {"$": "type"}}})
    ones = msgspec.json.encode({"a": [1] * 10_000})

    accepted = await _accept(acceptor, tenant, new_event(payload=ones))

    by_filter, first, *others, cheap = await _payloads(conn, accepted)
    assert "/filter: costs too much" in by_filter["template_error"]
    assert first == {"n": 10_000}
    # Those before it have used up what all may take together, and each keeps a little.
    assert "/job/payload/n/$: costs too much" in others[-1]["template_error"]
    assert cheap == {"type": "order.paid"}


async def test_what_takes_long_is_matched_beside_the_event_loop(
    acceptor: Acceptor, pool: Pool, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def note(template: Template, event: Json, budget: Budget) -> Json:
        seen.append(threading.current_thread() is threading.main_thread())
        return render(template, event, budget)

    monkeypatch.setattr(matching, "render", note)
    await _subscribe(pool, tenant, job={"payload": {"n": {"$": "payload.a[?@ > `0`] | length(@)"}}})

    for length in (10, 10_000):
        payload = msgspec.json.encode({"a": [1] * length})
        await _accept(acceptor, tenant, new_event(payload=payload))

    assert seen == [True, True, False]  # the second one was begun at once, and given up


async def test_the_jobs_of_one_event_are_bounded_together(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID
) -> None:
    large = msgspec.json.encode("x" * (MADE_BYTES // 4))
    for n in range(5):
        await _subscribe(pool, tenant, name=f"itself {n}")
    await _subscribe(pool, tenant, name="small", job={"payload": {"type": {"$": "type"}}})

    accepted = await _accept(acceptor, tenant, new_event(payload=large))

    *whole, fourth, fifth, small = await _payloads(conn, accepted)
    assert [len(payload["payload"]) for payload in whole] == [MADE_BYTES // 4] * 3
    assert "exceeds" in fourth["template_error"]
    assert "exceeds" in fifth["template_error"]
    assert small == {"type": "order.paid"}


async def test_sender_s_own_id_makes_a_repeat_whatever_else_it_says(
    acceptor: Acceptor, conn: Database, pool: Pool, tenant: UUID, observer: RecordingObserver
) -> None:
    await _subscribe(pool, tenant)
    sent: dict[str, Any] = {"source": "shop", "external_id": "42"}

    first = await _accept(acceptor, tenant, new_event(**sent))
    again = await _accept(acceptor, tenant, new_event(**sent, payload=b"7"), key="k", body=b"x")
    other = await _accept(acceptor, tenant, new_event(source="mill", external_id="42"))

    assert (first.replayed, again.replayed, other.replayed) == (False, True, False)
    assert (again.id, again.created_at, again.jobs) == (first.id, first.created_at, first.jobs)
    assert await value(conn, "SELECT count(*) FROM signalstack.events") == 2
    assert [fact.outcome for fact in observer.facts(EventReceived)] == [
        "accepted",
        "duplicate",
        "accepted",
    ]


async def test_a_span_says_that_the_jobs_of_a_repeat_were_not_stored(
    acceptor: Acceptor, observer: RecordingObserver, tenant: UUID
) -> None:
    for _ in range(2):
        await _enqueue(acceptor, tenant, _greeting(), key="k")

    first, again = (span.attributes for span in observer.spans)
    assert "signalstack.stored" not in first
    assert again["signalstack.stored"] is False


async def test_event_with_a_used_key_and_another_body_is_refused(
    acceptor: Acceptor, tenant: UUID
) -> None:
    await _accept(acceptor, tenant, new_event(), key="k", body=b"1")
    again = await _accept(acceptor, tenant, new_event(), key="k", body=b"1")
    with pytest.raises(InvalidError, match="/idempotency_key"):
        await _accept(acceptor, tenant, new_event(), key="k", body=b"2")

    assert again.replayed


async def test_event_of_a_tenant_that_is_gone_is_not_accepted(
    acceptor: Acceptor, conn: Database, tenant: UUID
) -> None:
    await _accept(acceptor, tenant, new_event())
    await conn.execute("DELETE FROM signalstack.users")

    with pytest.raises((NotFoundError, UnavailableError)):
        await _accept(acceptor, tenant, new_event())
    with pytest.raises(NotFoundError):
        await _accept(acceptor, new_id(), new_event())


async def test_subscriptions_that_change_all_the_time_are_unavailability(
    acceptor: Acceptor, conn: Database, tenant: UUID
) -> None:
    await _accept(acceptor, tenant, new_event())
    # Whatever version is read, the one that is compared differs.
    await conn.execute(
        """
        CREATE FUNCTION public.outdate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RETURN NULL;
        END $$;
        CREATE TRIGGER outdate BEFORE INSERT ON signalstack.events
        FOR EACH ROW EXECUTE FUNCTION public.outdate()
        """
    )

    with pytest.raises(UnavailableError, match="change faster"):
        await _accept(acceptor, tenant, new_event())
