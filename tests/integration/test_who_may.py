"""Who may call what: every operation, by scope and by what is wrong with a key."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

import strangers
from boarding import ON_BOARD
from contexts import Witness
from front import client_of, make_key, open_front
from rows import connect
from signalstack.api.app import OPERATIONS
from signalstack.api.description import Description
from signalstack.core import key
from signalstack.core.errors import SignalStackError, UnauthenticatedError
from signalstack.core.ids import new_id
from signalstack.core.key import Scope, new_key
from signalstack.core.stage import Queried
from signalstack.store.pool import Pool
from signalstack.usecases.authenticate import Authenticator
from signalstack.usecases.keys import create_key, revoke_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from front import Front

# What may be called without a key; whatever else is added needs a scope.
OPEN: Final = {"/live", "/ready", "/health", "/openapi.json", "/docs"}
REVOKED_WITHIN_S: Final = 30.0


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url, job_types=ON_BOARD) as opened:
        yield opened


def _nothing() -> dict[str, str]:
    return {"id": str(new_id()), "name": "nothing"}


def test_only_health_and_the_description_are_open_to_everybody() -> None:
    served = (*OPERATIONS, *Description(OPERATIONS, {}).operations)

    assert {operation.route for operation in served if operation.needs is None} == OPEN


def test_what_changes_something_needs_more_than_reading() -> None:
    # A rehearsal stores nothing.
    harmless = {("GET", Scope.READ), ("POST", Scope.READ)}
    reading = {
        (operation.method, operation.path)
        for operation in strangers.operations()
        if operation.needs is Scope.READ
    }

    assert {(method, Scope.READ) for method, _ in reading} <= harmless
    posted = {path for method, path in reading if method == "POST"}
    assert posted == {"/subscriptions/{id}/test"}


@pytest.mark.parametrize("scope", [*Scope, None], ids=lambda scope: scope or "no key")
async def test_a_scope_opens_what_needs_it_and_nothing_else(
    front: Front, scope: Scope | None
) -> None:
    token = None if scope is None else await make_key(front.pool, "third", scope)
    async with client_of(front.app, token) as client:
        for operation in strangers.operations():
            answer = await strangers.call(client, operation, _nothing())
            named = (operation.method, operation.path, answer.text)
            if scope is None:
                assert answer.status_code == 401, named
            elif scope in {operation.needs, Scope.ADMIN}:
                assert answer.status_code in {200, 201, 204, 404, 409}, named
            else:
                assert answer.status_code == 403, named
                assert str(operation.needs) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [("revoked", 401), ("expired", 401), ("unknown", 401), ("forged", 401), ("suspended", 403)],
)
async def test_a_key_that_is_not_good_opens_nothing(
    front: Front, database_url: str, wrong: str, status: int
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1) if wrong == "expired" else None
    token, info = await create_key(front.pool, "third", set(Scope), expires_at=past)
    if wrong == "revoked":
        await revoke_key(front.pool, info.id)
    if wrong == "unknown":
        token = new_key("live").token
    if wrong == "forged":
        token = f"{token[:-1]}{'0' if token[-1] != '0' else '1'}"
    if wrong == "suspended":
        async with connect(database_url) as conn:
            await conn.execute(
                "UPDATE signalstack.users SET suspended_at = now() WHERE name = 'third'"
            )

    async with client_of(front.app, token) as client:
        for operation in strangers.operations():
            answer = await strangers.call(client, operation, _nothing())
            assert answer.status_code == status, (operation.method, operation.path, answer.text)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_revoked_key_is_refused_within_half_a_minute(database_url: str) -> None:
    """With the authenticator as a process has it: only the clock is the test's."""
    clock = Clock()
    async with Pool(database_url, Witness()) as pool:
        authenticator = Authenticator(pool, clock=clock)
        token, info = await create_key(pool, "acme", {Scope.READ})
        await authenticator.check(token)
        await revoke_key(pool, info.id)
        clock.now += REVOKED_WITHIN_S

        with pytest.raises(UnauthenticatedError):
            await authenticator.check(token)


async def test_a_key_in_steady_use_is_asked_for_again_all_the_same(database_url: str) -> None:
    clock = Clock()
    async with Pool(database_url, Witness()) as pool:
        authenticator = Authenticator(pool, clock=clock)
        token, info = await create_key(pool, "acme", {Scope.READ})
        await authenticator.check(token)
        await revoke_key(pool, info.id)

        for _ in range(int(REVOKED_WITHIN_S)):
            clock.now += 1
            try:
                await authenticator.check(token)
            except UnauthenticatedError:
                return
    raise AssertionError("each use has lengthened its life")


async def test_two_keys_overlap_while_a_client_changes_over(front: Front) -> None:
    old, info = await create_key(front.pool, "third", {Scope.READ})
    new, _ = await create_key(front.pool, "third", {Scope.READ})
    async with client_of(front.app, old) as before, client_of(front.app, new) as after:
        both = [(await client.get("/v1/jobs")).status_code for client in (before, after)]
    await revoke_key(front.pool, info.id)

    authenticator = Authenticator(front.pool)
    with pytest.raises(UnauthenticatedError):
        await authenticator.check(old)
    assert both == [200, 200]
    assert (await authenticator.check(new)).scopes == {Scope.READ}


async def test_refusals_tell_nothing_about_a_key(database_url: str) -> None:
    """Unknown id, known id with another secret, revoked and expired: one sentence, one query."""
    witness = Witness()
    async with Pool(database_url, witness) as pool:
        past = datetime.now(UTC) - timedelta(seconds=1)
        revoked, info = await create_key(pool, "acme", {Scope.READ})
        expired, _ = await create_key(pool, "acme", {Scope.READ}, expires_at=past)
        stolen, stolen_info = await create_key(pool, "acme", {Scope.READ})
        await revoke_key(pool, info.id)
        async with pool.connection() as conn:
            await conn.execute(
                "UPDATE signalstack.api_keys SET secret_sha256 = %s WHERE id = %s",
                (bytes(32), stolen_info.id),
            )
        told: set[tuple[type[SignalStackError], str]] = set()
        for token in (new_key("live").token, stolen, revoked, expired):
            witness.facts.clear()
            with pytest.raises(UnauthenticatedError) as refused:
                await Authenticator(pool).check(token)
            told.add((refused.type, str(refused.value)))
            asked = [fact.query for fact in witness.facts if isinstance(fact, Queried)]
            assert asked == ["keys/find"]

    assert len(told) == 1


def test_secrets_are_compared_in_constant_time() -> None:
    assert "hmac.compare_digest" in inspect.getsource(key.matches)
