"""The callers of a chaos run: many kinds of requests by two tenants, and a note of every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import anyio
import httpx2

from chaos.stack import TENANTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from chaos.ledger import Told
    from chaos.stack import Stack

_OK: Final = 200
_PAUSE_S: Final = 0.01
_AFTER_REFUSAL_S: Final = 0.1
_REPEATS: Final = 20


class Load:
    """Callers that ask until told to stop; what they were told stands in `told`."""

    def __init__(self, stack: Stack, told: Told, rng: Random) -> None:
        self._stack = stack
        self._told = told
        self._rng = rng
        self._stop = anyio.Event()

    def stop(self) -> None:
        """Ask for no more."""
        self._stop.set()

    async def run(self, callers: int) -> None:
        """Ask until `stop`, then until every keyed request has its answer."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._schedule)
            for number in range(callers):
                tasks.start_soon(self._call, TENANTS[number % len(TENANTS)])

    async def _schedule(self) -> None:
        """Have a job made every second for as long as the others ask."""
        job = {"type": "chaos", "payload": {"tick": {"$": "tick"}}}
        body = {"name": "every second", "cron": "@every 1s", "job": job}
        async with self._stack.client(TENANTS[0]) as client:
            made = await self._until(lambda: client.post("/v1/schedules", json=body), {201, 409})
            self._told.schedule = made.json().get("id")
            await self._stop.wait()
            if self._told.schedule is not None:
                path = f"/v1/schedules/{self._told.schedule}"
                await self._until(lambda: client.delete(path), {204, 404})

    async def _until(
        self, ask: Callable[[], Awaitable[httpx2.Response]], wanted: set[int]
    ) -> httpx2.Response:
        while True:
            try:
                answer = await ask()
            except httpx2.HTTPError:
                self._told.unanswered += 1
            else:
                self._told.statuses[answer.status_code] += 1
                if answer.status_code in wanted:
                    return answer
            await anyio.sleep(_AFTER_REFUSAL_S)

    async def _call(self, tenant: str) -> None:
        acts = [self._one] * 6 + [self._keyed] * 2 + [self._batch, self._cancel, self._wait]
        acts += [self._peek]
        async with self._stack.client(tenant) as client:
            while not self._stop.is_set():
                pause = _PAUSE_S
                try:
                    if not await self._rng.choice(acts)(client, tenant):
                        pause = _AFTER_REFUSAL_S
                except httpx2.HTTPError:
                    self._told.unanswered += 1
                    pause = _AFTER_REFUSAL_S
                await anyio.sleep(pause)

    def _job(self) -> dict[str, Any]:
        rng, payload = self._rng, dict[str, Any]()
        lot = rng.random()
        payload["seconds"] = rng.choice([0, 0, 0, 0.01, 0.1])
        given: dict[str, Any] = {"type": "chaos", "payload": payload, "max_attempts": 5}
        if lot < 0.1:
            payload["fails"] = rng.randint(1, 2)
        elif lot < 0.12:
            payload["fails"] = 99
            given["max_attempts"] = 2
        elif lot < 0.2:
            given["delay_s"] = round(rng.uniform(0.1, 2), 3)
        given["priority"] = rng.choice([0, 0, 0, 5, -5])
        return given

    async def _one(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        return self._heed(await client.post("/v1/jobs", json=self._job()), tenant)

    async def _wait(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        headers = {"prefer": "wait=2"}
        return self._heed(await client.post("/v1/jobs", json=self._job(), headers=headers), tenant)

    async def _batch(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        body = {"jobs": [self._job() for _ in range(self._rng.randint(2, 20))]}
        return self._heed(await client.post("/v1/jobs/batch", json=body), tenant)

    async def _keyed(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        """Ask with a key until there is an answer, and then once more: the same job comes back."""
        headers, body = {"idempotency-key": str(uuid4())}, self._job()
        first: str | None = None
        for _ in range(_REPEATS):
            try:
                answer = await client.post("/v1/jobs", json=body, headers=headers)
            except httpx2.HTTPError:
                self._told.unanswered += 1
                await anyio.sleep(_AFTER_REFUSAL_S)
                continue
            if not self._heed(answer, tenant):
                await anyio.sleep(_AFTER_REFUSAL_S)
                continue
            if first is not None:
                if answer.json()["id"] != first:
                    self._told.replayed_as_another.append(headers["idempotency-key"])
                return True
            first = answer.json()["id"]
        return False

    async def _cancel(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        answer = await client.post("/v1/jobs", json=self._job() | {"delay_s": 1})
        if not self._heed(answer, tenant):
            return False
        job = answer.json()["id"]
        done = await client.post(f"/v1/jobs/{job}/cancel")
        self._told.statuses[done.status_code] += 1
        if done.status_code == _OK and done.json()["status"] == "cancelled":
            self._told.cancelled.add(job)
        return True

    async def _peek(self, client: httpx2.AsyncClient, tenant: str) -> bool:
        """Look at what is there: lists show nothing of others, and their ids are unknown."""
        answer = await client.get("/v1/jobs", params={"limit": 50})
        self._told.statuses[answer.status_code] += 1
        if answer.status_code != _OK:
            return False
        whose = self._told.acknowledged
        for job in answer.json()["data"]:
            if whose.get(job["id"], tenant) != tenant:
                self._told.seen_of_others.append(job["id"])
        others = [job for job, owner in list(whose.items())[-50:] if owner != tenant]
        if others:
            foreign = await client.get(f"/v1/jobs/{self._rng.choice(others)}")
            self._told.statuses[foreign.status_code] += 1
            if foreign.status_code == _OK:
                self._told.seen_of_others.append(foreign.json()["id"])
        return True

    def _heed(self, answer: httpx2.Response, tenant: str) -> bool:
        self._told.statuses[answer.status_code] += 1
        if not answer.is_success:
            return False
        body = answer.json()
        for job in body.get("jobs", [body]):
            self._told.acknowledged[job["id"]] = tenant
        return True
