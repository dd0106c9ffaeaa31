from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import psycopg
import pytest
from anyio.lowlevel import checkpoint
from psycopg.conninfo import conninfo_to_dict

from contexts import Witness
from signalstack.core.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from signalstack.core.key import Scope, new_key
from signalstack.core.stage import Queried
from signalstack.store.pool import Pool
from signalstack.usecases import authenticate
from signalstack.usecases.authenticate import Authenticator
from signalstack.usecases.keys import create_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.core.key import Principal


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A pool, its witness, and an authenticator on a clock of its own."""

    def __init__(self, pool: Pool, witness: Witness) -> None:
        self.pool = pool
        self.witness = witness
        self.clock = Clock()
        self.authenticator = Authenticator(pool, ttl_s=10.0, clock=self.clock)

    @property
    def lookups(self) -> int:
        """How often a key was looked up in the database."""
        facts = self.witness.facts
        return sum(isinstance(fact, Queried) and fact.query == "keys/find" for fact in facts)


@pytest.fixture
async def door(database_url: str) -> AsyncGenerator[Door]:
    witness = Witness()
    async with Pool(database_url, witness, acquire_timeout_s=1.0) as pool:
        yield Door(pool, witness)


async def test_good_key_gives_its_tenant_and_scopes(door: Door) -> None:
    token, info = await create_key(door.pool, "acme", {Scope.READ, Scope.WRITE})

    principal = await door.authenticator.check(token)

    assert principal.key_id == info.id
    assert principal.scopes == {Scope.READ, Scope.WRITE}


async def test_second_check_makes_no_query(door: Door) -> None:
    token, _ = await create_key(door.pool, "acme", {Scope.READ})

    first = await door.authenticator.check(token)
    again = await door.authenticator.check(token)

    assert first == again
    assert door.lookups == 1


@pytest.mark.parametrize(
    "token",
    ["", "hello", "ss_test_abc", "ss_live_\udcff", pytest.param(new_key("live").token, id="new")],
)
async def test_unknown_or_malformed_key_is_unauthenticated(door: Door, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await door.authenticator.check(token)


async def test_known_id_with_another_secret_is_unauthenticated(door: Door) -> None:
    token, info = await create_key(door.pool, "acme", {Scope.READ})
    other = new_key("live")
    async with door.pool.connection() as conn:
        await conn.execute(
            "UPDATE signalstack.api_keys SET secret_sha256 = %s WHERE id = %s",
            (other.secret_sha256, info.id),
        )

    with pytest.raises(UnauthenticatedError):
        await door.authenticator.check(token)


async def test_revoked_key_stops_working_after_the_ttl(door: Door) -> None:
    token, info = await create_key(door.pool, "acme", {Scope.READ})
    await door.authenticator.check(token)
    await revoke_key(door.pool, info.id)

    await door.authenticator.check(token)
    door.clock.now += 10.0

    with pytest.raises(UnauthenticatedError):
        await door.authenticator.check(token)


async def test_key_is_not_remembered_past_its_expiry(door: Door) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=5)
    token, _ = await create_key(door.pool, "acme", {Scope.READ}, expires_at=soon)
    await door.authenticator.check(token)
    door.clock.now += 5.0

    await door.authenticator.check(token)

    assert door.lookups == 2


async def test_expired_key_is_unauthenticated(door: Door) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    token, _ = await create_key(door.pool, "acme", {Scope.READ}, expires_at=past)

    with pytest.raises(UnauthenticatedError):
        await door.authenticator.check(token)


async def test_key_of_a_suspended_tenant_is_forbidden(door: Door) -> None:
    token, _ = await create_key(door.pool, "acme", {Scope.READ})
    async with door.pool.connection() as conn:
        await conn.execute("UPDATE signalstack.users SET suspended_at = now()")

    with pytest.raises(ForbiddenError, match="suspended"):
        await door.authenticator.check(token)


async def test_concurrent_checks_of_one_key_share_a_query(door: Door) -> None:
    token, _ = await create_key(door.pool, "acme", {Scope.READ})
    found: list[Principal] = []

    async def check() -> None:
        found.append(await door.authenticator.check(token))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(check)

    assert len(found) == 50
    assert door.lookups == 1


async def test_cancelled_asker_does_not_fail_those_who_wait_for_it(door: Door) -> None:
    token, _ = await create_key(door.pool, "acme", {Scope.READ})
    scope = anyio.CancelScope()
    found: list[Principal] = []

    async def ask_and_be_cancelled() -> None:
        with scope:
            await door.authenticator.check(token)

    async def check() -> None:
        found.append(await door.authenticator.check(token))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_and_be_cancelled)
        tasks.start_soon(check)
        await checkpoint()
        scope.cancel()

    assert len(found) == 1


async def test_unknown_key_is_asked_for_again_after_a_moment(door: Door) -> None:
    token = new_key("live").token
    for _ in range(3):
        with pytest.raises(UnauthenticatedError):
            await door.authenticator.check(token)
    door.clock.now += authenticate.BAD_TTL_S
    with pytest.raises(UnauthenticatedError):
        await door.authenticator.check(token)

    assert door.lookups == 2


async def test_flood_of_bad_keys_pushes_out_no_good_one(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "BAD_LIMIT", 5)
    monkeypatch.setattr(authenticate, "GOOD_LIMIT", 2)
    tokens = [(await create_key(door.pool, "acme", {Scope.READ}))[0] for _ in range(3)]
    await door.authenticator.check(tokens[1])
    await door.authenticator.check(tokens[2])
    for _ in range(20):
        with pytest.raises(UnauthenticatedError):
            await door.authenticator.check(new_key("live").token)
    before = door.lookups

    await door.authenticator.check(tokens[1])
    await door.authenticator.check(tokens[2])
    assert door.lookups == before

    await door.authenticator.check(tokens[0])  # a third: the oldest makes room
    await door.authenticator.check(tokens[1])
    assert door.lookups == before + 2


async def test_remembered_key_outlives_the_database_until_its_ttl(
    door: Door, database_url: str, postgres: str
) -> None:
    token, _ = await create_key(door.pool, "acme", {Scope.READ})
    await door.authenticator.check(token)
    await _shut(postgres, database_url)

    await door.authenticator.check(token)
    door.clock.now += 10.0

    with pytest.raises(UnavailableError):
        await door.authenticator.check(token)


async def _shut(server: str, dsn: str) -> None:
    """Let nobody into a database any more, and put out who is there."""
    name = conninfo_to_dict(dsn)["dbname"]
    admin = await psycopg.AsyncConnection.connect(server, autocommit=True)
    async with admin:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        )
