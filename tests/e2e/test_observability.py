"""Everything that dashboards and rules ask of Prometheus has an answer from the service at work."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import anyio
import psycopg
import pytest

import dashboards
import promql
from alerting import rules, selectors
from installation import Installation, Work, install
from receiver import receiver, reply
from watching import prometheus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from watching import Prometheus

# Scraped twice a second; the rules' longest interval, five minutes, takes fifteen seconds.
FASTER: Final = 20.0
# A job that retention removes: its id is of 2022.
LONG_AGO: Final = """
    INSERT INTO signalstack.finished_jobs (
        user_id, id, type, queue, priority, status, attempt, max_attempts,
        run_at, created_at, updated_at, finished_at, payload
    )
    SELECT
        id, '01800000-0000-7000-8000-000000000001', 'noop', 'default', 0, 'succeeded', 1, 1,
        now() - '1 year'::interval, now() - '1 year'::interval, now() - '1 year'::interval,
        now() - '1 year'::interval, 'null'
    FROM signalstack.users
"""
# A cache that does not answer is asked all the same, and everything goes on without it.
NO_REDIS: Final = "redis://127.0.0.1:1"
MESSAGE: Final = {"phone_number": "+4915112345678", "content": "hello"}
ANSWERED_S: Final = 45.0
LOOK_S: Final = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_everything_that_is_asked_has_an_answer(data_dir: Path) -> None:
    asked = {*_panels(), *_rules()}
    async with (
        receiver() as shop,
        receiver() as ruin,
        receiver() as gateway,
        install(data_dir, REQUEST_TIMEOUT="1s", REDIS_URL=NO_REDIS) as here,
        prometheus(here.api_target, faster=FASTER) as watch,
    ):
        ruin.usual = reply(500)
        gateway.usual = reply(200, body=b'{"message": "Accepted", "messageId": "m-1"}')
        sending = {"WEBHOOK_URL": gateway.url, "MESSAGE_INTERVAL": "100ms"}
        message = await _prepare(here)
        async with (
            here.worker(**sending) as first,
            here.worker(**sending) as second,
            here.load(*_works(shop.url, ruin.url, message)),
            _without_counts(here),
        ):
            watch.scrape(here.api_target, first.target, second.target)
            await _fail_a_request(here)
            missing = await _until_answered(watch, asked)
            names = await watch.names()

    assert not missing, "no answer to:\n" + "\n".join(missing)
    named = {one.metric for text in asked for one in promql.read(text)}
    assert named - {"ALERTS"} <= names  # which is there while an alert is


def _panels() -> set[str]:
    """What the panels ask."""
    return {asked.expression for asked in dashboards.asked()}


def _rules() -> set[str]:
    """What is recorded, and each series that an alert looks at: an alert itself is silent."""
    found = {rule.expr for rule in rules() if rule.record is not None}
    for rule in rules():
        if rule.alert is not None:
            found |= {f"last_over_time({one}[1m])" for one in selectors(rule.expr)}
    return found


async def _until_answered(watch: Prometheus, expressions: set[str]) -> list[str]:
    """Ask again what has no answer yet; return what never had one."""
    left = expressions
    with anyio.move_on_after(ANSWERED_S):
        while True:
            left = {one for one in left if not await _is_answered(watch, one)}
            if not left:
                break
            await anyio.sleep(LOOK_S)
    return sorted(left)


async def _is_answered(watch: Prometheus, expression: str) -> bool:
    # Not a number is what a share of nothing is: a panel shows no line for it.
    return any(sample.value[1] != "NaN" for sample in await watch.query(expression))


async def _prepare(here: Installation) -> str:
    """Leave work for the workers' first look, and make what the load needs: a message's id."""
    for path, body in (
        ("/v1/jobs/batch", {"jobs": [{"type": "noop"}] * 20}),
        ("/v1/subscriptions", {"name": "all", "event_type": "order.*", "job": {"type": "noop"}}),
        ("/v1/schedules", {"name": "often", "cron": "@every 1s", "job": {"type": "noop"}}),
    ):
        answer = await here.client.post(path, json=body)
        assert answer.status_code == 201, answer.text
    async with await psycopg.AsyncConnection.connect(here.dsn, autocommit=True) as conn:
        await conn.execute(LONG_AGO)
    answer = await here.client.post("/v1/messages", json=MESSAGE)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def _works(shop: str, ruin: str, sent: str) -> list[Work]:
    """Work for every part of the service."""

    def job(type_: str, payload: object = None, **given: object) -> dict[str, object]:
        return {"type": type_, "payload": payload, "max_attempts": 2, **given}

    def jobs(every_s: float, body: object) -> Work:
        return Work(path="/v1/jobs", body=body, every_s=every_s)

    event = {"type": "order.paid", "payload": {"n": 1}}
    naps = [job("nap", {"seconds": 0.02})] * 50
    return [
        jobs(0.05, job("noop")),
        jobs(0.5, job("noop", delay_s=0.3)),
        jobs(0.2, job("poison")),
        jobs(0.2, job("send_webhook", {"body": {}, "url": shop})),
        jobs(0.5, job("send_webhook", {"body": {}, "url": ruin})),
        Work(path="/v1/events", body=event, every_s=0.2),
        Work(path="/v1/events", body={**event, "id": str(uuid4())}, every_s=0.5),
        Work(path="/v1/jobs/batch", body={"jobs": naps}, every_s=2),
        Work(path="/v1/messages", body=MESSAGE, every_s=0.3),
        Work(path=f"/v1/messages/{sent}", method="GET", every_s=0.3),
    ]


async def _fail_a_request(here: Installation) -> None:
    """Have a request wait for a lock until its time is over."""
    async with await psycopg.AsyncConnection.connect(here.dsn) as conn:
        await conn.execute("LOCK TABLE signalstack.endpoints IN ACCESS EXCLUSIVE MODE")
        for _ in range(2):
            answer = await here.client.get("/v1/endpoints")
            assert answer.status_code == 503, answer.text


@asynccontextmanager
async def _without_counts(here: Installation) -> AsyncGenerator[None]:
    """Take a table away that a chore writes, so that the chore fails."""
    async with await psycopg.AsyncConnection.connect(here.dsn, autocommit=True) as conn:
        await conn.execute("ALTER TABLE signalstack.metrics_hourly RENAME TO metrics_away")
        yield
        await conn.execute("ALTER TABLE signalstack.metrics_away RENAME TO metrics_hourly")
