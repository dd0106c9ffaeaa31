"""The rate limit of a key over HTTP: what is let through, refused and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from front import Front, open_front
from signalstack.api.rate_limit import RateLimit
from signalstack.core.token_bucket import Rate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Clock:
    """Stands still until it is set forward; in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def front(database_url: str, clock: Clock) -> AsyncGenerator[Front]:
    limit = RateLimit(Rate(per_s=2, burst=3), clock=clock)
    async with open_front(database_url, rate_limit=limit) as front:
        yield front


async def test_a_key_is_refused_when_its_burst_is_used_up(front: Front, clock: Clock) -> None:
    answers = [await front.client.post("/v1/jobs", json={"type": "noop"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert [answer.headers["ratelimit"] for answer in answers] == [
        '"default";r=2;t=1',
        '"default";r=1;t=1',
        '"default";r=0;t=2',
        '"default";r=0;t=2',
    ]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=2'}
    refusal = answers[-1]
    assert refusal.headers["retry-after"] == "1"
    assert refusal.headers["content-type"] == "application/problem+json"
    assert refusal.json()["title"] == "Too many requests"
    clock.now += 0.5
    assert (await front.client.get("/v1/jobs/17")).status_code == 404


async def test_another_key_has_its_own(front: Front) -> None:
    for _ in range(4):
        await front.client.get("/v1/jobs/17")

    assert (await front.stranger.get("/v1/jobs/17")).headers["ratelimit"] == '"default";r=2;t=1'


async def test_a_refusal_of_another_kind_tells_it_too(front: Front) -> None:
    answer = await front.client.post("/v1/jobs", content=b"{")

    assert answer.status_code == 415
    assert answer.headers["ratelimit"] == '"default";r=2;t=1'


async def test_what_needs_no_key_is_not_limited(front: Front) -> None:
    answers = [await front.anonymous.get("/live") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any("ratelimit" in answer.headers for answer in answers)


async def test_without_the_setting_nothing_is_told(database_url: str) -> None:
    async with open_front(database_url) as front:
        answer = await front.client.get("/v1/jobs/17")

    assert not {"ratelimit", "ratelimit-policy"} & answer.headers.keys()


async def test_pages_of_other_origins_are_told_nothing(front: Front) -> None:
    asked = {"origin": "https://elsewhere.test", "access-control-request-method": "POST"}

    preflight = await front.anonymous.options("/v1/jobs", headers=asked)
    plain = await front.client.post("/v1/jobs", json={"type": "noop"}, headers=asked)

    assert (preflight.status_code, plain.status_code) == (405, 201)
    for answer in (preflight, plain):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
