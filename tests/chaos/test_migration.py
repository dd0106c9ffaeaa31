"""A migrator that is killed anywhere: whoever goes on gets the same schema."""

from __future__ import annotations

import random
import signal

import anyio
import psycopg
import pytest

from processes import finish, start
from signalstack.store import schema
from signalstack.store.sqlfiles import sql_root

pytestmark = pytest.mark.slow

KILLS = 3
_MIGRATORS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state IS NOT NULL"
)


@pytest.mark.timeout(120)
async def test_a_migration_killed_midway_is_taken_up_where_it_was(empty_database_url: str) -> None:
    rng = random.Random(6)  # noqa: S311 - it is to be repeatable
    killed = 0
    async with await psycopg.AsyncConnection.connect(empty_database_url, autocommit=True) as conn:
        for _ in range(KILLS):
            async with start("migrate", "up", DATABASE_URL=empty_database_url) as migrator:
                with anyio.fail_after(30):
                    while not await _number(conn, _MIGRATORS):  # noqa: ASYNC110 - it is another process
                        await anyio.sleep(0.001)
                await anyio.sleep(rng.uniform(0, 0.15))
                if migrator.process.returncode is None:
                    migrator.process.send_signal(signal.SIGKILL)
                    killed += 1
                await migrator.process.wait()

    code, _, errors = await finish("migrate", "up", DATABASE_URL=empty_database_url)

    assert code == 0, errors
    assert killed
    assert await schema.dump(empty_database_url) == (sql_root() / "schema.sql").read_text()


async def _number(conn: psycopg.AsyncConnection, query: str) -> int:
    row = await (await conn.execute(query.encode())).fetchone()
    return row[0] if row else 0
