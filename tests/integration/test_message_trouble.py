"""What goes wrong between worker and receiver, as those who asked for the message see it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import pytest

from boarding import ON_BOARD
from contexts import Witness
from front import Front, open_front
from receiver import Received, Receiver, hang, receiver, reply, reset
from signalstack.core.message import Pace
from signalstack.handlers import message
from signalstack.handlers.outbound import open_outbound
from signalstack.usecases import messages
from working import open_shop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from receiver import Answer
    from working import Shop

PATIENCE_S: Final = 20
TAKEN: Final = reply(202, body=b'{"messageId": "m-1"}')
ANSWERS: Final[dict[str, Answer]] = {
    "timeout": hang,
    "connection": reset,
    "rate_limited": reply(429),
    "rejected": reply(400),
    "invalid_response": reply(500),
}
CODES: Final = {429: "rate_limited", 503: "invalid_response"}


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """The front door, the receiver behind, and when it heard of what."""

    front: Front
    here: Receiver
    heard: list[tuple[float, str]]

    async def create(self, content: str) -> str:
        body = {"phone_number": "+905551111111", "content": content}
        answer = await self.front.client.post("/v1/messages", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def get(self, path: str) -> Any:
        return (await self.front.client.get(f"/v1/{path}")).json()

    async def until(self, message_id: str, **wanted: Any) -> dict[str, Any]:
        """Wait until a message stands like this."""
        found: dict[str, Any] = {}
        with anyio.fail_after(PATIENCE_S):
            while True:
                found = await self.get(f"messages/{message_id}")
                if wanted.items() <= found.items():
                    return found
                await anyio.sleep(0.02)


@asynccontextmanager
async def post(dsn: str, answers: dict[str, Answer], *, workers: int = 1) -> AsyncGenerator[Post]:
    """Run workers whose sender is the real one; a text names its answer, for the first time."""
    heard: list[tuple[float, str]] = []
    async with (
        receiver() as here,
        open_outbound(timeout_s=0.5, allow_private=True) as outbound,
        open_front(dsn, job_types=ON_BOARD) as front,
        open_shop(dsn) as shop,
    ):
        note = here.record

        def record(request: Received) -> Answer:
            content = msgspec.json.decode(request.body)["content"]
            heard.append((anyio.current_time(), content))
            note(request)
            return answers.get(content, TAKEN)

        here.record = record  # type: ignore[method-assign] - the answer depends on what it reads
        sends = message.build(
            outbound=outbound,
            observer=Witness(),
            hold=partial(messages.hold, front.pool),
            url=here.url,
            key=None,
            char_limit=160,
        )
        await messages.set_pace(front.pool, Pace(batch_size=1000, interval_s=1, workers=50))
        async with at_work(shop, sends, workers):
            yield Post(front=front, here=here, heard=heard)


@asynccontextmanager
async def at_work(shop: Shop, sends: Any, workers: int) -> AsyncGenerator[None]:
    if workers == 0:
        yield
        return
    async with shop.worker({}, on_board=(sends,)), at_work(shop, sends, workers - 1):
        yield


async def test_each_trouble_is_told_apart_from_the_others(database_url: str) -> None:
    async with post(database_url, ANSWERS) as p:
        ids = {code: await p.create(code) for code in [*ANSWERS, "fine"]}
        sent = await p.until(ids["fine"], status="sent")
        failed = {code: await p.until(ids[code], status="failed") for code in ANSWERS}
        stats = await p.get("messages/stats")

    assert {code: found["error_code"] for code, found in failed.items()} == {c: c for c in ANSWERS}
    assert all(found["last_error"].startswith(f"{code}: ") for code, found in failed.items())
    assert "429" in failed["rate_limited"]["last_error"]
    assert {code: found["attempts"] for code, found in failed.items()} == {
        **dict.fromkeys(ANSWERS, 3),
        "rejected": 1,
    }
    assert (sent["error_code"], sent["last_error"]) == (None, None)
    assert stats["by_error_code"] == dict.fromkeys(ANSWERS, 1) | {"other": 0}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_time_is_left_alone_by_all_workers(
    database_url: str, status: int
) -> None:
    answers = {"first": reply(status, headers={"retry-after": "2"})}
    async with post(database_url, answers, workers=2) as p:
        first = await p.create("first")
        await p.here.wait_for(1)
        waiting = await p.until(first, status="pending", error_code=CODES[status])
        others = [await p.create(f"{n}") for n in range(5)]
        pace = await p.get("scheduler/status")
        del answers["first"]
        for each in (first, *others):
            await p.until(each, status="sent")
        done = await p.get(f"messages/{first}")

    assert len(p.heard) == 7
    assert min(at for at, _ in p.heard[1:]) - p.heard[0][0] >= 1.9
    assert pace["next_batch_at"] > waiting["updated_at"]
    # What was not looked at has cost no attempt.
    assert (waiting["attempts"], done["attempts"]) == ((0, 1) if status == 429 else (1, 2))
