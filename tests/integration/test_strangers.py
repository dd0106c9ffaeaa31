"""Another tenant's ids on every route: not found, with the queries' guards and without them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

import strangers
from boarding import ON_BOARD
from front import open_front
from guards import files, tenant_tables, without_guard
from rows import connect
from signalstack.core.ids import new_id
from signalstack.store import query
from strangers import MARK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from front import Front
    from signalstack.api.operation import AnyOperation

# Makes a queue of the caller's own, whatever others have.
_MAKES_ITS_OWN = {("PATCH", "/queues/{name}")}


class House:
    """An application, and a tenant who has one of everything."""

    def __init__(self, front: Front, dsn: str, victim: UUID, named: dict[str, str]) -> None:
        self.front = front
        self.dsn = dsn
        self.victim = victim
        self.named = named
        self.failed = str(new_id())

    def targets(self, operation: AnyOperation) -> list[dict[str, str]]:
        """Tell what of the victim's the operation's path can name."""
        if "{" not in operation.path or (operation.method, operation.path) in _MAKES_ITS_OWN:
            return []
        resource = operation.path.split("/")[1]
        names = [self.named[resource], *([self.failed] if resource == "jobs" else [])]
        return [{"id": name, "name": name} for name in names]


@pytest.fixture
async def house(database_url: str) -> AsyncGenerator[House]:
    async with open_front(database_url, job_types=ON_BOARD) as front:
        victim = await strangers.tenant_of(front, "other")
        made = House(front, database_url, victim, await strangers.settle_in(front.stranger))
        await strangers.finish_one(database_url, victim, UUID(made.failed))
        yield made


@pytest.mark.parametrize("guards", [True, False], ids=["guarded", "guards taken out"])
async def test_a_foreign_id_is_not_found_on_any_route(
    house: House, monkeypatch: pytest.MonkeyPatch, *, guards: bool
) -> None:
    before = await strangers.snapshot(house.dsn, house.victim)
    if not guards:
        _take_guards_out(monkeypatch)

    for operation in strangers.operations():
        for named in house.targets(operation):
            answer = await strangers.call(house.front.client, operation, named)
            assert answer.status_code == 404, (operation.method, operation.path, answer.text)
            unknown = await strangers.call(
                house.front.client, operation, dict.fromkeys(("id", "name"), str(new_id()))
            )
            assert _shape(unknown.text) == _shape(answer.text).replace(MARK, "ID")

    assert await strangers.snapshot(house.dsn, house.victim) == before


@pytest.mark.parametrize("guards", [True, False], ids=["guarded", "guards taken out"])
async def test_nothing_of_another_tenant_is_listed_or_changed(
    house: House, monkeypatch: pytest.MonkeyPatch, *, guards: bool
) -> None:
    before = await strangers.snapshot(house.dsn, house.victim)
    if not guards:
        _take_guards_out(monkeypatch)

    for operation in strangers.operations():
        if "{" not in operation.path:
            answer = await strangers.call(house.front.client, operation, {})
            assert answer.status_code in {200, 201}, (operation.path, answer.text)
            assert MARK not in answer.text, operation.path
            assert not any(name in answer.text for name in house.named.values())

    assert await strangers.snapshot(house.dsn, house.victim) == before


async def test_without_both_walls_everything_would_be_seen(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prove that the tests above would notice: guards and row-level security both gone."""
    _take_guards_out(monkeypatch)
    async with connect(house.dsn) as conn:
        for table in tenant_tables():
            await conn.execute(
                f"ALTER TABLE signalstack.{table} DISABLE ROW LEVEL SECURITY".encode()
            )
    seen: set[str] = set()

    for operation in strangers.operations():
        if operation.method == "GET" and not operation.path.endswith(("/stream", "{name}")):
            for named in house.targets(operation) or [{}]:
                answer = await strangers.call(house.front.client, operation, named)
                if answer.status_code == 200 and "{" in operation.path:
                    seen.add(operation.path)
                if MARK in answer.text:
                    seen.add(operation.path)

    assert seen >= {
        *("/jobs", "/jobs/{id}", "/jobs/{id}/attempts", "/jobs/{id}/timeline"),
        *("/events", "/events/{id}", "/subscriptions", "/subscriptions/{id}"),
        *("/endpoints", "/endpoints/{id}", "/messages", "/messages/{id}", "/queues"),
    }


def _take_guards_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {name: without_guard(text) for name, text in files().items()}
    monkeypatch.setattr(query, "read", bare.__getitem__)


def _shape(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "ID", text)
