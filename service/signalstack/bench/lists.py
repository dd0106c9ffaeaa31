"""What a long history does to lists: deep pages beside the first one, queues with and without."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec

from signalstack.bench.figure import BenchError, Figure, latency
from signalstack.bench.http import connected, make_request
from signalstack.bench.probe import Prober
from signalstack.bench.rig import QUEUE
from signalstack.store import baseline

if TYPE_CHECKING:
    from signalstack.bench.http import Caller
    from signalstack.bench.rig import Rig

_OK: Final = 200
_PAGE: Final = 50
_STRIDE: Final = 200


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    next_cursor: str | None


class _Reader:
    """Reads lists on one connection; `page` is how deep it looks."""

    def __init__(self, rig: Rig, http: Caller, page: int) -> None:
        self._rig = rig
        self._http = http
        self._page = page
        self._queues = make_request("GET", "/v1/queues", key=rig.key)
        self._live = make_request("GET", "/live")
        self.probes = Prober()

    async def without_history(self, rounds: int) -> None:
        """Read the queues of a tenant for whom nothing ever ran."""
        for _ in range(rounds):
            await self._take("queues.new", self._queues)

    async def with_history(self, cold: int, rounds: int) -> None:
        """Read in turns what a history could slow down."""
        first, deep = self._list(None), self._list(await self._cursor())
        for number in range(cold + rounds):
            take = self._take if number >= cold else self._warm
            await take("first", first)
            await take("deep", deep)
            await take("queues", self._queues)
            await take("live", self._live)

    async def warm(self, rounds: int) -> None:
        """Read the queues for nothing but warmth."""
        for _ in range(rounds):
            await self._warm("queues.new", self._queues)

    async def _take(self, name: str, request: bytes) -> None:
        await self.probes.take(name, partial(self._http.expect, request, _OK))

    async def _warm(self, _name: str, request: bytes) -> None:
        await self._http.expect(request, _OK)

    async def _cursor(self) -> str | None:
        """Walk up to the page that is read, in larger steps."""
        cursor: str | None = None
        left = (self._page - 1) * _PAGE
        while left > 0:
            limit = min(left, _STRIDE)
            body = await self._http.expect(self._list(cursor, limit), _OK)
            cursor = msgspec.json.decode(body, type=_Page).next_cursor
            if cursor is None:
                raise BenchError(f"the list of jobs ended before page {self._page}")
            left -= limit
        return cursor

    def _list(self, cursor: str | None, limit: int = _PAGE) -> bytes:
        query = {"limit": str(limit)} if cursor is None else {"limit": str(limit), "cursor": cursor}
        return make_request("GET", f"/v1/jobs?{urlencode(query)}", key=self._rig.key)


async def measure_lists(rig: Rig) -> list[Figure]:
    """Measure lists before, with and after a long history, an API at rest and no worker."""
    jobs, page, cold, count = (20_000, 200, 4, 20) if rig.quick else (1_000_000, 1_000, 20, 100)
    await rig.clear()
    async with rig.api() as url, connected(url) as http:
        reader = _Reader(rig, http, page)
        # Half before and half after: a machine that changes pace midway hits both sides alike.
        await reader.warm(cold)
        await reader.without_history(count // 2)
        rig.say(f"lists, storing {jobs:,} finished jobs")
        async with rig.pool.connection() as conn:
            await baseline.finish(conn, user_id=rig.user_id, queue=QUEUE, count=jobs)
        await reader.with_history(cold, count)
        await rig.clear()
        await reader.warm(cold)
        await reader.without_history(count // 2)
    return _figures(reader.probes, jobs, page)


def _figures(probes: Prober, jobs: int, page: int) -> list[Figure]:
    titles = {
        "first": f"GET /v1/jobs, page 1 of {jobs:,} jobs",
        "deep": f"GET /v1/jobs, page {page:,} of {jobs:,} jobs",
        "queues": f"GET /v1/queues, {jobs:,} jobs in history",
        "queues.new": "GET /v1/queues, no history",
    }
    return [
        *(
            latency(f"lists.{name}", title, probes.returns(name), floor="lists.live")
            for name, title in titles.items()
        ),
        latency("lists.live", "floor: GET /live answered, beside lists", probes.returns("live")),
    ]
