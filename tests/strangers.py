"""Every call of the route table, and a tenant with one of everything that a path can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg import sql

from boarding import ON_BOARD
from guards import tenant_tables
from rows import connect
from signalstack.api import examples
from signalstack.api.app import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from front import Front
    from signalstack.api.operation import AnyOperation

MARK: Final = "only-for-its-owner"
_REGISTRY: Final = {job_type.name: job_type for job_type in ON_BOARD}
_DAYS: Final = {"from": "2026-01-01", "to": "2026-01-02", "bucket": "day"}


def operations() -> Iterator[AnyOperation]:
    """Give every operation that asks for a key."""
    return (operation for operation in OPERATIONS if operation.needs is not None)


async def call(
    client: httpx2.AsyncClient, operation: AnyOperation, named: dict[str, str]
) -> httpx2.Response:
    """Call an operation with what its path names and the first example of its body."""
    sent = examples.of(operation.handler.__name__, _REGISTRY)
    body: dict[str, Any] = (
        {"json": sent[0].value, "headers": {"content-type": sent[0].media}} if sent else {}
    )
    wanted = {"summary": ("from", "to"), "timeseries": ("from", "to", "bucket")}
    names = wanted.get(operation.path.rpartition("/")[2], ())
    return await client.request(
        operation.method,
        operation.route.format_map(named),
        params={name: _DAYS[name] for name in names},
        **body,
    )


async def settle_in(client: httpx2.AsyncClient) -> dict[str, str]:
    """Make one of everything for a client's tenant, marked; tell by resource what names it.

    A resource that is missing here fails the tests that use it.
    """
    hook = {"name": MARK, "url": f"https://{MARK}.example.com/"}
    job = {"type": "noop", "payload": {"mark": MARK}}
    made: dict[str, Any] = {
        "events": {"type": "mark", "payload": {"mark": MARK}},
        "jobs": {**job, "delay_s": 600},
        "subscriptions": {"name": MARK, "event_type": "mark", "job": job},
        "endpoints": hook,
        "messages": {"phone_number": "+4915112345678", "content": MARK},
        "schedules": {"name": MARK, "cron": "0 5 * * *", "job": job},
    }
    served = {operation.path.split("/")[1] for operation in operations()}
    named: dict[str, str] = {}
    for resource, body in made.items():
        if resource in served:
            answer = await client.post(f"/v1/{resource}", json=body)
            assert answer.status_code == 201, answer.text
            named[resource] = answer.json()["id"]
    answer = await client.patch(f"/v1/queues/{MARK}", json={"concurrency": 2})
    assert answer.status_code == 200, answer.text
    named["queues"] = MARK
    return named


async def finish_one(dsn: str, tenant: UUID, job_id: UUID) -> None:
    """Put a failed job with one earlier run into a tenant's history."""
    async with connect(dsn) as conn:
        await conn.execute(
            """
            INSERT INTO signalstack.finished_jobs (user_id, id, type, queue, priority, status,
                attempt, max_attempts, run_at, created_at, updated_at, started_at, finished_at,
                last_error, payload)
            SELECT %s, %s, 'noop', 'default', 0, 'failed', 2, 2, t, t, t, t, t, %s, 'null'
            FROM (SELECT now()) AS at (t)
            """,
            (tenant, job_id, MARK),
        )
        await conn.execute(
            "INSERT INTO signalstack.attempts (user_id, job_id, attempt, outcome, started_at,"
            " finished_at, error) VALUES (%s, %s, 1, 'failed', now(), now(), %s)",
            (tenant, job_id, MARK),
        )


async def snapshot(dsn: str, tenant: UUID) -> dict[str, list[Any]]:
    """Read every row that a tenant has."""
    found: dict[str, list[Any]] = {}
    async with connect(dsn) as conn:
        for table in sorted(tenant_tables()):
            cursor = await conn.execute(
                sql.SQL("SELECT t::text FROM {} AS t WHERE {} = %s ORDER BY 1").format(
                    sql.Identifier("signalstack", table),
                    sql.Identifier("id" if table == "users" else "user_id"),
                ),
                (tenant,),
            )
            found[table] = await cursor.fetchall()
    return found


async def tenant_of(front: Front, name: str) -> UUID:
    """Find a tenant by its name."""
    async with front.pool.connection() as conn:
        cursor = await conn.execute("SELECT id FROM signalstack.users WHERE name = %s", (name,))
        row = await cursor.fetchone()
        assert row is not None
        return UUID(str(row["id"]))
