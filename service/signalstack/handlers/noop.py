"""The job type `noop`, which does nothing: for a first try, and to measure all the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signalstack.core.handler import JobType

if TYPE_CHECKING:
    from signalstack.core.handler import Context


async def _run(_payload: dict[str, Any] | None, _context: Context) -> None:
    """Do nothing, and succeed with the result null."""


NOOP: Final = JobType(name="noop", payload=dict[str, Any] | None, run=_run, is_async=True)
