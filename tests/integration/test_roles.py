"""The API on a login of its own, with exactly the rights that docs/roles.md grants."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import strangers
from boarding import ON_BOARD
from front import client_of, make_key, open_front
from rows import connect
from signalstack.core.key import Scope
from signalstack.store import tenancy
from tenants import open_pool

PAGE = (Path(__file__).parents[2] / "docs/roles.md").read_text()
(GRANTS,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


async def test_the_api_serves_with_the_rights_that_are_documented(database_url: str) -> None:
    async with connect(database_url) as admin, open_pool(database_url) as owner:
        key = await make_key(owner, "acme", *Scope)
        await make_key(owner, "other", *Scope)
        role = f"api_{admin.info.dbname}"
        await admin.execute(re.sub(r"\bapi\b", role, GRANTS).encode())
        dsn = make_conninfo(database_url, user=role, password="choose one")
        try:
            async with (
                open_front(dsn, job_types=ON_BOARD, keys=False) as front,
                client_of(front.app, key) as client,
            ):
                async with front.pool.connection() as conn:
                    await tenancy.require(conn)
                named = await strangers.settle_in(client)
                for operation in strangers.operations():
                    name = named.get(operation.path.split("/")[1], "")
                    if operation.method != "DELETE" and not operation.path.endswith("/stream"):
                        answer = await strangers.call(client, operation, {"id": name, "name": name})
                        assert answer.status_code in {200, 201, 409}, (operation.path, answer.text)
                for statement in (
                    "DELETE FROM signalstack.finished_jobs",
                    "SELECT actor FROM signalstack.audit_log",
                    "DROP TABLE signalstack.jobs",
                    "UPDATE signalstack.api_keys SET revoked_at = NULL",
                ):
                    async with front.pool.connection() as conn:
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            await conn.execute(statement.encode())
        finally:
            await admin.execute(f"DROP OWNED BY {role}".encode())
            await admin.execute(f"DROP ROLE {role}".encode())
