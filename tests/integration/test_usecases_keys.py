from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signalstack.core.errors import InvalidError, NotFoundError
from signalstack.core.key import Scope, parse_key
from signalstack.usecases.keys import create_key, list_keys, revoke_key
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from signalstack.store.pool import Pool


@pytest.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


async def test_new_key_makes_its_tenant_once(pool: Pool) -> None:
    await create_key(pool, "acme", {Scope.READ})
    await create_key(pool, "acme", {Scope.WRITE, Scope.ADMIN})

    async with pool.connection() as conn:
        found = await conn.execute("SELECT name FROM signalstack.users")
        assert [row["name"] for row in await found.fetchall()] == ["acme"]
    assert [key.scopes for key in await list_keys(pool)] == [["read"], ["admin", "write"]]


async def test_token_is_stored_as_its_hash_only(pool: Pool) -> None:
    token, info = await create_key(pool, "acme", {Scope.READ}, env="test")

    parsed = parse_key(token)
    assert parsed is not None
    assert parsed.id == info.id
    assert token.startswith("ss_test_")
    async with pool.connection() as conn:
        found = await conn.execute("SELECT key::text AS row FROM signalstack.api_keys AS key")
        row = await found.fetchone()
        assert row is not None
        assert token.split("_")[3] not in row["row"]
        assert parsed.secret_sha256.hex() in row["row"]


async def test_list_shows_one_tenants_keys_or_all(pool: Pool) -> None:
    _, first = await create_key(pool, "acme", {Scope.READ})
    _, second = await create_key(pool, "zeta", {Scope.READ})

    assert await list_keys(pool, "zeta") == [second]
    assert await list_keys(pool) == [first, second]
    assert await list_keys(pool, "nobody") == []


async def test_revoking_again_keeps_the_first_moment(pool: Pool) -> None:
    _, info = await create_key(pool, "acme", {Scope.READ})

    first = await revoke_key(pool, info.id)
    again = await revoke_key(pool, info.id)

    assert first.revoked_at is not None
    assert again == first


async def test_revoking_an_unknown_key_is_not_found(pool: Pool) -> None:
    with pytest.raises(NotFoundError):
        await revoke_key(pool, "nothing")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", "two\nlines"])
async def test_unfit_user_name_is_refused(pool: Pool, name: str) -> None:
    with pytest.raises(InvalidError, match="/user"):
        await create_key(pool, name, {Scope.READ})


async def test_key_without_scopes_or_with_an_odd_environment_is_refused(pool: Pool) -> None:
    with pytest.raises(InvalidError, match="/scopes"):
        await create_key(pool, "acme", set())
    with pytest.raises(InvalidError, match="/env"):
        await create_key(pool, "acme", {Scope.READ}, env="Production!")
