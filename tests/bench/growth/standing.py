"""Owns worker processes that stay from one measurement to the next, and what they count."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx2

from bench.growth.figures import Claims, empty_per_job
from bench.peers.measures import Bench
from bench.peers.process import Adapter, PeerError
from signalstack.telemetry import scrape

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from bench.peers.figures import Values

_SCRAPE_S: Final = 10.0
_EMPTY: Final = frozenset({("result", "empty")})
_TAKEN: Final = frozenset({("outcome", "taken")})
_ALL: Final = frozenset[tuple[str, str]]()


class Standing(Bench, frozen=True, kw_only=True):
    """A bench whose workers run already: measurements share them."""

    standing: list[Adapter]

    @asynccontextmanager
    async def workers(
        self, count: int, mode: str, *, first: int = 0
    ) -> AsyncGenerator[list[Adapter]]:
        """Give those that run, whose settings are the usual ones in each mode."""
        del mode, first
        if count != len(self.standing):
            raise PeerError(f"{count} workers are wanted and {len(self.standing)} run")
        yield self.standing

    async def counting(self, measure: Callable[[], Awaitable[Values]]) -> Values:
        """Measure, and tell besides how many claims found nothing for each job that was claimed."""
        before = await self._claims()
        values = await measure()
        return {**values, "empty": empty_per_job(before, await self._claims())}

    async def _claims(self) -> list[Claims]:
        async with httpx2.AsyncClient(timeout=_SCRAPE_S) as client:
            return [await _claims_of(client, worker) for worker in self.standing]


@asynccontextmanager
async def open_standing(bench: Bench, count: int) -> AsyncGenerator[Standing]:
    """Run so many worker processes for as long as the block lasts."""
    async with bench.workers(count, "latency") as started:
        fields = {name: getattr(bench, name) for name in bench.__struct_fields__}
        yield Standing(**fields, standing=started)


async def _claims_of(client: httpx2.AsyncClient, worker: Adapter) -> Claims:
    _, url = worker.said.split()
    try:
        numbers = scrape.read((await client.get(url)).raise_for_status().text)
        return Claims(
            empty=numbers["claims_total"][_EMPTY],
            jobs=numbers.get("claim_batch_size_sum", {}).get(_ALL, 0.0)  # not there at first
            + numbers["handovers_total"][_TAKEN],
        )
    except (httpx2.HTTPError, KeyError) as error:
        raise PeerError(f"a worker does not tell of its claims: {error!r}") from error
