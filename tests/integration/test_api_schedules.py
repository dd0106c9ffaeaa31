"""Schedules over HTTP against a real database; nobody takes their ticks here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from front import Front, make_key, open_front
from front import client_of as client_with
from rows import connect, rows, value
from signalstack.core import schedule as rules
from signalstack.core.key import Scope
from signalstack.usecases import schedules as usecase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PATH = "/v1/schedules"
SCHEDULE: dict[str, Any] = {
    "name": "greeting",
    "cron": "30 7 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "job": {"type": "greet", "payload": {"to": {"$": "schedule.name"}}, "priority": 5},
}


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url) as front:
        yield front


async def make(front: Front, **fields: Any) -> dict[str, Any]:
    answer = await front.client.post(PATH, json={**SCHEDULE, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def times(schedule: dict[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(run) for run in schedule["next_runs"]]


async def test_a_schedule_is_kept_with_its_next_five_times(front: Front) -> None:
    made = await front.client.post(PATH, json=SCHEDULE)
    found = await front.client.get(made.headers["location"])

    shown = made.json()
    assert made.status_code == 201
    assert made.headers["location"] == f"{PATH}/{shown['id']}"
    assert {name: shown[name] for name in SCHEDULE if name != "job"} == {
        name: told for name, told in SCHEDULE.items() if name != "job"
    }
    assert shown["job"] == {
        **SCHEDULE["job"],
        "queue": "default",
        "max_attempts": None,
        "timeout_s": None,
    }
    assert (shown["misfire"], shown["paused"]) == ("skip", False)
    assert (shown["last_tick"], shown["last_job_id"], shown["last_error"]) == (None, None, None)
    assert len(shown["next_runs"]) == 5
    assert all(run.weekday() < 5 and run.minute == 30 for run in times(shown))
    assert found.json() == shown


async def test_an_even_pace_is_counted_from_the_moment_of_creation(front: Front) -> None:
    made = await make(front, cron="@every 90s", timezone="UTC")

    created = datetime.fromisoformat(made["created_at"])
    assert times(made) == [created + n * timedelta(seconds=90) for n in range(1, 6)]


async def test_a_list_is_read_page_by_page(front: Front) -> None:
    for n in range(5):
        await make(front, name=f"n{n}")
    await front.stranger.post(PATH, json=SCHEDULE)

    names: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query: dict[str, str | int] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await front.client.get(PATH, params=query)).json()
        names += [item["name"] for item in page["data"]]
        cursor = page["next_cursor"]

    assert names == ["n0", "n1", "n2", "n3", "n4"]
    assert cursor is None


async def test_a_name_is_taken_once_by_each_tenant(front: Front) -> None:
    made = await make(front)
    other = await make(front, name="other")

    assert (await front.client.post(PATH, json=SCHEDULE)).status_code == 409
    assert (await front.stranger.post(PATH, json=SCHEDULE)).status_code == 201
    renamed = await front.client.patch(f"{PATH}/{other['id']}", json={"name": made["name"]})
    assert renamed.status_code == 409


async def test_a_tenant_has_so_many_schedules_and_no_more(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usecase, "MAX_SCHEDULES", 2)
    for n in range(2):
        await make(front, name=f"n{n}")

    assert (await front.client.post(PATH, json=SCHEDULE)).status_code == 409
    assert rules.MAX_SCHEDULES == 1_000


async def test_a_foreign_one_is_not_found_whatever_is_asked_of_it(front: Front) -> None:
    path = f"{PATH}/{(await make(front))['id']}"

    for place in (path, f"{PATH}/{uuid4()}", f"{PATH}/x"):
        asked = [
            await front.stranger.get(place),
            await front.stranger.patch(place, json={"name": "mine"}),
            await front.stranger.delete(place),
            *[await front.stranger.post(f"{place}/{verb}") for verb in ("pause", "resume", "run")],
        ]
        assert {answer.status_code for answer in asked} == {404}
    assert (await front.client.get(path)).json()["name"] == SCHEDULE["name"]


async def test_reading_takes_the_scope_read_and_all_else_write(front: Front) -> None:
    path = f"{PATH}/{(await make(front))['id']}"

    async with client_with(front.app, await make_key(front.pool, "acme", Scope.READ)) as reader:
        assert (await reader.get(path)).status_code == 200
        assert (await reader.post(PATH, json=SCHEDULE)).status_code == 403
        assert (await reader.post(f"{path}/run")).status_code == 403
    assert (await front.anonymous.get(path)).status_code == 401


async def test_a_deleted_schedule_is_gone(front: Front) -> None:
    path = f"{PATH}/{(await make(front))['id']}"

    gone = await front.client.delete(path)

    assert (gone.status_code, gone.content) == (204, b"")
    assert (await front.client.get(path)).status_code == 404
    assert (await front.client.delete(path)).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "pointer", "told"),
    [
        ({"cron": "61 * * * *"}, "/cron", "minute: '61' is not within 0 to 59"),
        ({"cron": "0 0 30 2 *"}, "/cron", "none of these months has such a day"),
        ({"cron": "0 0 */30 2 MON#5"}, "/cron", "no time within the next ten years"),
        ({"cron": "0 0 0 * * *"}, "/cron", "five fields"),
        ({"cron": "@every 500ms"}, "/cron", "1s to 744h"),
        ({"cron": "@every 745h"}, "/cron", "1s to 744h"),
        ({"cron": "@every 1.0001s"}, "/cron", "whole milliseconds"),
        ({"cron": "@every 5"}, "/cron", "is no duration"),
        ({"cron": "@every 5s "}, "/cron", "is not known"),
        ({"cron": "@reboot"}, "/cron", "is not known"),
        ({"timezone": "europe/berlin"}, "/timezone", "did you mean Europe/Berlin?"),
        ({"timezone": "../../etc/passwd"}, "/timezone", "no time zone of the IANA list"),
        ({"misfire": "all"}, "/misfire", "all"),
        ({"name": ""}, "/name", ""),
        ({"active": True}, "/active", "unknown field"),
        ({"job": {"type": "none"}}, "/job/type", "'none' does not exist; there are: greet, noop"),
        ({"job": {"type": "noop", "queue": "nowhere"}}, "/job/queue", "there are: default"),
        ({"job": {"type": "greet", "payload": {}}}, "/job/payload/to", "missing"),
        ({"job": {"type": "greet", "payload": {"to": 1}}}, "/job/payload/to", "str"),
        ({"job": {"type": "noop", "payload": {"$": "a["}}}, "/job/payload/$", ""),
        (
            {"job": {"type": "greet", "payload": {"to": {"$": "tickk"}}}},
            "/job/payload/to/$",
            "'tickk' does not exist; there are: tick, schedule, schedule.id, schedule.name",
        ),
        (
            {"job": {"type": "noop", "payload": {"a": {"$": "schedule.cron"}}}},
            "/job/payload/a/$",
            "'schedule.cron' does not exist",
        ),
        ({"job": {"type": "noop", "payload": {"a": {"$": "tick.day"}}}}, "/job/payload/a/$", ""),
        (
            {"job": {"type": "noop", "payload": {"a": {"$": '"schedule.id"'}}}},
            "/job/payload/a/$",
            "",
        ),
        ({"job": {"type": "noop", "delay_s": 1}}, "/job/delay_s", "unknown field"),
    ],
)
async def test_what_is_wrong_is_pointed_at_when_it_is_made_or_changed(
    front: Front, wrong: dict[str, Any], pointer: str, told: str
) -> None:
    path = f"{PATH}/{(await make(front, name='right'))['id']}"

    for answer in (
        await front.client.post(PATH, json={**SCHEDULE, **wrong}),
        await front.client.patch(path, json=wrong),
    ):
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert fault["pointer"] == pointer
        assert told in fault["detail"]


async def test_other_times_begin_anew_and_anything_else_leaves_them(front: Front) -> None:
    made = await make(front, cron="@every 1h", timezone="UTC")
    path = f"{PATH}/{made['id']}"

    change = {"name": "b", "misfire": "once", "job": {"type": "noop"}}
    renamed = (await front.client.patch(path, json=change)).json()
    changed = (await front.client.patch(path, json={"cron": "@every 2h"})).json()

    assert (renamed["name"], renamed["misfire"], renamed["job"]["type"]) == ("b", "once", "noop")
    assert renamed["next_runs"] == made["next_runs"]
    assert renamed["updated_at"] > made["updated_at"]
    assert times(changed)[0] > times(made)[0] + timedelta(hours=1)
    assert {after - before for before, after in pairwise(times(changed))} == {timedelta(hours=2)}


async def test_a_paused_schedule_has_no_next_times_until_it_is_resumed(front: Front) -> None:
    made = await make(front, cron="@every 1h", timezone="UTC")
    path = f"{PATH}/{made['id']}"

    paused = [await front.client.post(f"{path}/pause") for _ in range(2)]
    moved = await front.client.patch(path, json={"cron": "@every 2h"})
    resumed = [await front.client.post(f"{path}/resume") for _ in range(2)]

    assert [answer.status_code for answer in (*paused, *resumed)] == [200] * 4
    for answer in (*paused, moved):
        assert (answer.json()["paused"], answer.json()["next_runs"]) == (True, [])
    for answer in resumed:
        assert answer.json()["paused"] is False
        assert times(answer.json())[0] > times(made)[0]


async def test_run_makes_the_job_now_and_leaves_the_ticks(front: Front) -> None:
    made = await make(front)
    path = f"{PATH}/{made['id']}"
    await front.client.post(f"{path}/pause")

    ran = await front.client.post(f"{path}/run", headers={"idempotency-key": "once"})
    again = await front.client.post(f"{path}/run", headers={"idempotency-key": "once"})
    unkeyed = await front.client.post(f"{path}/run")

    job = ran.json()
    assert (ran.status_code, again.status_code, unkeyed.status_code) == (201, 200, 201)
    assert ran.headers["location"] == again.headers["location"] == f"/v1/jobs/{job['id']}"
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == job["id"] != unkeyed.json()["id"]
    assert (job["type"], job["payload"], job["priority"]) == ("greet", {"to": "greeting"}, 5)
    assert (job["status"], job["queue"], job["max_attempts"]) == ("pending", "default", 3)
    shown = (await front.client.get(path)).json()
    assert (shown["last_tick"], shown["last_job_id"]) == (None, None)


async def test_a_key_belongs_to_one_schedule(front: Front) -> None:
    first, second = [await make(front, name=name) for name in "ab"]
    headers = {"idempotency-key": "once"}

    await front.client.post(f"{PATH}/{first['id']}/run", headers=headers)
    other = await front.client.post(f"{PATH}/{second['id']}/run", headers=headers)

    assert other.status_code == 422


async def test_what_cannot_run_any_more_says_why(front: Front, database_url: str) -> None:
    await front.client.patch("/v1/queues/mine", json={"concurrency": 1})
    gone_queue = await make(front, name="a", job={"type": "noop", "queue": "mine"})
    gone_type = await make(front, name="b")
    async with connect(database_url) as conn:
        await conn.execute("DELETE FROM signalstack.queues WHERE name = 'mine'")
        await conn.execute(
            """UPDATE signalstack.schedules SET job = job || '{"type": "old"}' WHERE name = 'b'"""
        )
        for schedule, told in ((gone_queue, "/job/queue: 'mine'"), (gone_type, "/job/type: 'old'")):
            answer = await front.client.post(f"{PATH}/{schedule['id']}/run")
            assert answer.status_code == 409
            assert told in answer.json()["detail"]
        assert await value(conn, "SELECT count(*) FROM signalstack.jobs") == 0


async def test_a_zone_that_is_not_known_any_more_shows_no_times(
    front: Front, database_url: str
) -> None:
    made = await make(front)
    path = f"{PATH}/{made['id']}"
    async with connect(database_url) as conn:
        await conn.execute("UPDATE signalstack.schedules SET timezone = 'Europe/Atlantis'")
        shown = await front.client.get(path)
        await front.client.post(f"{path}/pause")
        resumed = await front.client.post(f"{path}/resume")
        mended = await front.client.patch(path, json={"timezone": "Europe/Athens"})
        resumed_then = await front.client.post(f"{path}/resume")

        assert (shown.status_code, shown.json()["next_runs"]) == (200, [])
        assert (resumed.status_code, mended.status_code) == (409, 200)
        assert len(resumed_then.json()["next_runs"]) == 5
        ((tick,),) = await rows(conn, "SELECT next_tick FROM signalstack.schedules")
        assert tick > datetime.now(UTC) - timedelta(minutes=1)
