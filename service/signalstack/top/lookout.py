"""Looks at the targets, all at once, and keeps what each said last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.to_thread
import httpx2

from signalstack.telemetry import scrape
from signalstack.top.picture import Glance
from signalstack.top.reading import Change, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from signalstack.top.target import Target

_OK: Final = 200
_TEXT: Final = {"accept": "text/plain; version=0.0.4"}


class Lookout:
    """Use it with `async with`; one that does not answer in `patience_s` counts as away."""

    def __init__(self, targets: Sequence[Target], *, patience_s: float) -> None:
        """Name what will be looked at."""
        self._targets = targets
        self._patience_s = patience_s
        self._last: dict[Target, Reading] = {}
        # Proxies of the environment are for the way out, not for processes next door.
        self._client = httpx2.AsyncClient(headers=_TEXT, timeout=patience_s, trust_env=False)

    async def __aenter__(self) -> Self:
        """Open the connections' keeper."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._client.__aexit__(kind, error, trace)

    async def look(self) -> list[Glance]:
        """Scrape all targets; one that is away says so and disturbs no other."""
        found: dict[Target, Glance] = {}

        async def look_at(target: Target) -> None:
            found[target] = await self._look_at(target)

        async with anyio.create_task_group() as tasks:
            for target in self._targets:
                tasks.start_soon(look_at, target)
        return [found[target] for target in self._targets]

    async def _look_at(self, target: Target) -> Glance:
        try:
            with anyio.fail_after(self._patience_s):
                reading = await self._scrape(target)
        except TimeoutError:
            return Glance(target=str(target), away=f"no answer in {self._patience_s:g} s")
        except httpx2.HTTPError as error:
            return Glance(target=str(target), away=str(error) or type(error).__name__)
        except ValueError as error:
            return Glance(target=str(target), away=f"no page of metrics: {error}")
        before = self._last.get(target)
        self._last[target] = reading
        change = Change(before=before, after=reading) if before else None
        return Glance(target=str(target), reading=reading, change=change)

    async def _scrape(self, target: Target) -> Reading:
        answer = await self._client.get(target.url)
        at_s = anyio.current_time()
        if answer.status_code != _OK:
            raise ValueError(f"it answered {answer.status_code}")
        # In a thread: thousands of series take longer to read than a keystroke may wait.
        numbers = await anyio.to_thread.run_sync(scrape.read, answer.text)
        if not any(name.startswith("build_info") for name in numbers):
            raise ValueError("signalstack_build_info is missing, so it is another program's")
        return Reading(at_s=at_s, numbers=numbers)
