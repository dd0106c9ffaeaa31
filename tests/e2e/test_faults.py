"""What was acknowledged ends exactly once, whoever is killed meanwhile, by real processes."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import UUID

import anyio
import anyio.to_thread
import httpx2
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from front import make_key
from processes import Running, start
from signalstack.core.key import Scope
from signalstack.store import embedded, migrate
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

pytestmark = pytest.mark.slow

LEASE_S: Final = 3
# Who lives rescues when the lease ends; the rest is patience with a busy machine.
RESCUE_S: Final = LEASE_S + 17
# A killed leader is followed when its lease of 5 s ends; the rest is patience again.
FOLLOWED_S: Final = 5 + 5
LOOK_S: Final = 0.1
# Who holds what, and what each connection does: what a wait that came to nothing tells.
_HOLDINGS: Final = {
    "now": "SELECT clock_timestamp() AS at",
    "jobs": "SELECT j.* FROM signalstack.jobs AS j ORDER BY j.id LIMIT 50",
    "workers": "SELECT w.* FROM signalstack.workers AS w",
    "invitations": "SELECT i.* FROM signalstack.invitations AS i",
    "leaders": "SELECT l.* FROM signalstack.leaders AS l",
    "lost runs": "SELECT a.* FROM signalstack.attempts AS a ORDER BY a.finished_at LIMIT 50",
    "connections": (
        "SELECT pid, application_name, backend_start, state_change, state, wait_event,"
        " pg_blocking_pids(pid) AS blocked_by,"
        " left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS query FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY backend_start"
    ),
}
_SETTINGS: Final = {
    "SIGNALSTACK_HANDLERS": "handlers_for_tests:HANDLERS",
    "PYTHONPATH": str(Path(__file__).parent),
    "LEASE_SECONDS": str(LEASE_S),
    "POLL_INTERVAL": "500ms",
    "DB_CONNECT_DELAY": "200ms",
    "RETRY_BASE_DELAY": "50ms",
}


class Service:
    """An API process, its client, and the database behind it."""

    def __init__(self, dsn: str, client: httpx2.AsyncClient, api: Running) -> None:
        self.dsn = dsn
        self.client = client
        self.processes = {"API": api}
        self.acknowledged: list[UUID] = []
        self.answers: set[int] = set()

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncGenerator[Running]:
        """Run a worker process; killed at the end, if it is still there."""
        given = {"DATABASE_URL": self.dsn, **_SETTINGS, **settings}
        async with start("worker", **given) as process:
            self.processes[f"worker {process.pid}"] = process
            await process.read(r"^metrics +(\S+)")
            yield process

    async def post(self, type_: str, payload: object = None, **given: object) -> UUID | None:
        """Ask for a job; None when the answer was no."""
        body = {"type": type_, "payload": payload, **given}
        answer = await self.client.post("/v1/jobs", json=body)
        self.answers.add(answer.status_code)
        if answer.status_code != 201:
            return None
        self.acknowledged.append(UUID(answer.json()["id"]))
        return self.acknowledged[-1]

    @asynccontextmanager
    async def load(self, callers: int = 4) -> AsyncGenerator[None]:
        """Ask for short jobs all the time; at the end every answer is in."""
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(self._post_until, stop)
            yield
            stop.set()

    async def _post_until(self, stop: anyio.Event) -> None:
        while not stop.is_set():
            if await self.post("nap", {"seconds": 0.005}) is None:
                await anyio.sleep(LOOK_S)

    async def until_running(self, job: UUID) -> None:
        """Wait until a worker runs a job."""

        async def runs() -> bool:
            return (await self.client.get(f"/v1/jobs/{job}")).json()["status"] == "running"

        await self.until(runs, 10)

    async def until_over(self, within_s: float) -> None:
        """Wait until nothing that was acknowledged is left to do."""

        async def over() -> bool:
            (row,) = await self.rows(
                "SELECT count(*) AS live FROM signalstack.jobs WHERE id = ANY(%s)",
                self.acknowledged,
            )
            return row["live"] == 0

        await self.until(over, within_s)

    async def until(self, holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
        """Wait until something holds; if it does not in time, tell how things stand then."""
        try:
            with anyio.fail_after(within_s):
                while not await holds():  # noqa: ASYNC110 - other processes set no event of ours
                    await anyio.sleep(LOOK_S)
        except TimeoutError:
            told = await self.tell()
            raise AssertionError(f"waited {within_s} s in vain\n{told}") from None

    async def tell(self) -> str:
        """Tell who holds what in the database, and what the processes said of themselves."""
        told = [f"{len(self.acknowledged)} jobs acknowledged, answers: {self.answers}"]
        for name, query in _HOLDINGS.items():
            try:
                found = [f"  {_line(row)}" for row in await self.rows(query)]
            except psycopg.Error as error:  # PostgreSQL may be away, or a table locked
                found = [f"  {error}"]
            told += [f"{name}:", *found]
        for name, process in self.processes.items():
            code = process.process.returncode
            told.append(f"{name} {'runs' if code is None else f'ended with {code}'}:")
            lines = process.errors.splitlines()
            told += [f"  {line}" for line in lines if " request method=" not in line]
        return "\n".join(told)

    async def kill(self, name: str) -> bool:
        """End the connections of this name; False when there are none."""
        found = await self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            name,
        )
        return bool(found)

    async def outcomes(self) -> list[DictRow]:
        """List how the acknowledged jobs ended: each one exactly once."""
        found = await self.rows(
            "SELECT id, status, attempt, result FROM signalstack.finished_jobs"
            " WHERE id = ANY(%s) ORDER BY id",
            self.acknowledged,
        )
        assert [row["id"] for row in found] == sorted(set(self.acknowledged))
        assert len(found) == len(self.acknowledged)
        return found

    async def rows(self, query: str, *parameters: object) -> list[DictRow]:
        """Ask the database over a connection of its own."""
        async with await psycopg.AsyncConnection[DictRow].connect(
            self.dsn, autocommit=True, row_factory=dict_row, options="-c lock_timeout=5s"
        ) as conn:
            return await (await conn.execute(query.encode(), parameters)).fetchall()


@pytest.fixture
async def service(database_url: str) -> AsyncGenerator[Service]:
    async with _open(database_url) as service:
        yield service


async def test_jobs_of_a_killed_worker_are_run_by_another(service: Service) -> None:
    async with service.worker() as first:
        for _ in range(5):
            job = await service.post("hold")
            assert job is not None
            await service.until_running(job)
        async with service.worker() as second:
            first.process.kill()
            await service.until_over(RESCUE_S)
    outcomes = await service.outcomes()
    assert [(one["status"], one["result"]) for one in outcomes] == [
        ("succeeded", {"pid": second.pid, "attempt": 2})
    ] * 5
    lost = await service.rows("SELECT outcome, count(*) AS n FROM signalstack.attempts GROUP BY 1")
    assert lost == [{"outcome": "lost", "n": 5}]


async def test_a_killed_leader_is_followed_by_one_other(service: Service) -> None:
    async with service.worker() as first, service.worker() as second, service.worker() as third:
        crew = [first, second, third]
        leader = await _leader(service, crew, 10)
        leader.process.kill()
        await leader.wait()
        crew.remove(leader)
        follower = await _leader(service, crew, FOLLOWED_S)

        async def keeps_house() -> bool:
            return "\nsignalstack_queue_gauges_timestamp_seconds " in await _scrape(follower)

        await service.until(keeps_house, 5)


async def test_a_worker_whose_event_loop_hangs_is_ended_and_its_job_run_by_another(
    service: Service,
) -> None:
    async with service.worker(WATCHDOG_TIMEOUT="1s") as hung:
        job = await service.post("block")
        assert job is not None
        assert await hung.wait() == 1
        assert "in block" in hung.errors
        async with service.worker() as second:
            await service.until_over(RESCUE_S)
    (outcome,) = await service.outcomes()
    assert (outcome["status"], outcome["result"]) == (
        "succeeded",
        {"pid": second.pid, "attempt": 2},
    )


async def test_killed_connections_lose_and_double_nothing(service: Service) -> None:
    # One whose event loop stands still ends meanwhile, and tells where it stood.
    async with service.worker(WATCHDOG_TIMEOUT="10s"):
        async with service.load():
            for name in ("claim", "settle", "intake", "claim", "settle", "intake", "heartbeat") * 2:
                mark = len(service.acknowledged)
                await service.until(partial(_more, service, mark + 20), 15)
                # It may still be away from the last time.
                await service.until(partial(service.kill, f"signalstack {name}"), 10)
        await service.until_over(15)
    outcomes = await service.outcomes()
    assert {one["status"] for one in outcomes} == {"succeeded"}
    assert {one["attempt"] for one in outcomes} == {1}
    assert service.answers <= {201, 503}


async def test_a_worker_that_waits_for_a_rate_goes_on_after_its_connection_was_away(
    service: Service, postgres: str
) -> None:
    path, rate = "/v1/queues/paced", {"limit": 5, "burst": 1}
    assert (await service.client.patch(path, json={"rate": rate})).status_code == 200
    async with service.worker(WATCHDOG_TIMEOUT="10s") as worker:
        for _ in range(10):
            assert await service.post("nap", {}, queue="paced")
        async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as admin:
            name = urlsplit(service.dsn).path[1:]
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'signalstack claim'",
                [name],
            )
            await worker.read_error(r"(?s)(listener\.down.*?){6}")  # longer than the rate takes
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        await service.until_over(15)
    assert {(one["status"], one["attempt"]) for one in await service.outcomes()} == {
        ("succeeded", 1)
    }


async def test_what_was_acknowledged_outlives_a_crash_of_postgresql(data_dir: Path) -> None:
    server = await anyio.to_thread.run_sync(partial(embedded.start, data_dir))
    try:
        await migrate.up(server.facts.dsn)
        async with _open(server.facts.dsn) as service, service.worker(), service.worker():
            async with service.load():
                for _ in range(2):
                    mark = len(service.acknowledged)
                    await service.until(partial(_more, service, mark + 100), 20)
                    os.kill(server.facts.pid, signal.SIGQUIT)  # as `pg_ctl stop -m immediate` does
                    await anyio.to_thread.run_sync(server.stop)
                    server = await anyio.to_thread.run_sync(partial(embedded.start, data_dir))
                mark = len(service.acknowledged)
                await service.until(partial(_more, service, mark + 50), 20)
            await service.until_over(RESCUE_S)
            outcomes = await service.outcomes()
            assert {one["status"] for one in outcomes} == {"succeeded"}
            assert service.answers == {201, 503}
    finally:
        await anyio.to_thread.run_sync(server.stop)


async def test_a_worker_whose_start_is_held_up_ends_when_it_is_told_to(service: Service) -> None:
    given = {"DATABASE_URL": service.dsn, **_SETTINGS, "SHUTDOWN_TIMEOUT": "500ms"}
    async with await psycopg.AsyncConnection.connect(service.dsn) as rival:
        await rival.execute("LOCK TABLE signalstack.workers")
        async with start("worker", **given) as process:
            await service.until(partial(_somebody_waits, service), 15)
            with anyio.fail_after(10):
                assert await process.stop() == 0
        await rival.rollback()


async def test_a_worker_that_finishes_nothing_hands_back_what_runs(service: Service) -> None:
    made = await service.client.post("/v1/jobs", json={"type": "hold"})
    path = f"/v1/jobs/{made.json()['id']}"
    async with service.worker(SHUTDOWN_TIMEOUT="0s") as worker:
        await service.until(partial(_stands, service, path, "running"), 15)
        assert await worker.stop() == 0

    assert await _stands(service, path, "pending")  # and not as its worker's death left it


async def test_a_terminated_worker_ends_in_order_and_loses_nothing(service: Service) -> None:
    async with service.worker() as first, service.worker():
        async with service.load():
            await service.until(partial(_more, service, 50), 15)
            assert await first.stop(signal.SIGTERM) == 0
            mark = len(service.acknowledged)
            await service.until(partial(_more, service, mark + 50), 15)
        await service.until_over(10)
    outcomes = await service.outcomes()
    assert {(one["status"], one["attempt"]) for one in outcomes} == {("succeeded", 1)}
    assert service.answers == {201}


async def test_the_late_word_of_a_worker_that_was_stopped_does_not_count(service: Service) -> None:
    async with service.worker() as leader, service.worker(WORKER_QUEUES="naps") as first:
        job = await service.post("nap", {"seconds": 1.0}, queue="naps", max_attempts=2)
        assert job is not None
        await service.until_running(job)
        (row,) = await service.rows(
            "SELECT name FROM signalstack.workers WHERE id ="
            " (SELECT worker_id FROM signalstack.jobs WHERE id = %s)",
            job,
        )
        asleep, awake = (
            (first, leader) if row["name"].endswith(f":{first.pid}") else (leader, first)
        )
        asleep.process.send_signal(signal.SIGSTOP)
        await service.until_over(RESCUE_S)
        asleep.process.send_signal(signal.SIGCONT)
        await asleep.read_error(r"lease_lost")

        async def counted() -> bool:
            return "signalstack_stale_settlements_total 1.0" in await _scrape(asleep)

        await service.until(counted, 10)
    (outcome,) = await service.outcomes()
    assert outcome["result"] == {"pid": awake.pid, "attempt": 2}


@asynccontextmanager
async def _open(dsn: str) -> AsyncGenerator[Service]:
    async with open_pool(dsn) as pool:
        key = await make_key(pool, "acme", *Scope)
    async with start("api", DATABASE_URL=dsn, **_SETTINGS) as api:
        url = await api.read(r"^API +(\S+)")
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            yield Service(dsn, client, api)


def _line(row: DictRow) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items() if value is not None)


async def _scrape(worker: Running) -> str:
    url = await worker.read(r"^metrics +(\S+)")
    async with httpx2.AsyncClient() as client:
        return (await client.get(url)).text


async def _leader(service: Service, crew: Sequence[Running], within_s: float) -> Running:
    """Wait until exactly one of these says on /metrics that it leads."""
    leading: list[Running] = []

    async def one_leads() -> bool:
        texts = [(worker, await _scrape(worker)) for worker in crew]
        leading[:] = [w for w, text in texts if "signalstack_maintenance_leader 1.0" in text]
        return len(leading) == 1

    await service.until(one_leads, within_s)
    return leading[0]


async def _somebody_waits(service: Service) -> bool:
    return bool(await service.rows("SELECT pid FROM pg_locks WHERE NOT granted"))


async def _stands(service: Service, path: str, status: str) -> bool:
    return (await service.client.get(path)).json()["status"] == status


async def _more(service: Service, count: int) -> bool:
    return len(service.acknowledged) >= count
