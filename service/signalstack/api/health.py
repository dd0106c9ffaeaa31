"""Is the process alive, and can it serve: asked by load balancers, orchestrators and people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import anyio
import msgspec

from signalstack.api.operation import Answer, Bare, Operation
from signalstack.api.problems import RETRY_AFTER

if TYPE_CHECKING:
    from signalstack.api.parts import Check, Parts

READY: Final = 200
NOT_READY: Final = 503


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/live`."""

    status: Literal["live"] = "live"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that serving depends on; `reason` says why it is not ready."""

    ready: bool
    reason: str | None


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/ready`; `degraded` lacks a part that serving can do without."""

    status: Literal["ready", "degraded", "not ready"]
    parts: dict[str, Part]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/health`: both in short; `not_ready` names the parts that are not."""

    status: Literal["healthy", "unhealthy"]
    live: bool
    ready: bool
    not_ready: list[str]


async def live(call: Bare) -> Answer:  # noqa: ARG001 - that it answers is all it says
    """Say that the event loop turns."""
    return Answer(body=Live())


async def ready(call: Bare) -> Answer:
    """Say of each part whether it is ready, and why not."""
    parts = await _examine(call.parts)
    spare = {name: await _spare(check) for name, check in _spares(call.parts).items()}
    if all(part.ready for part in parts.values()):
        whole = all(part.ready for part in spare.values())
        return Answer(body=Ready(status="ready" if whole else "degraded", parts=parts | spare))
    parts |= spare
    return _unready(Ready(status="not ready", parts=parts))


async def health(call: Bare) -> Answer:
    """Say both in short."""
    parts = await _examine(call.parts)
    not_ready = sorted(name for name, part in parts.items() if not part.ready)
    if not not_ready:
        return Answer(body=Health(status="healthy", live=True, ready=True, not_ready=[]))
    return _unready(Health(status="unhealthy", live=True, ready=False, not_ready=not_ready))


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/live",
        summary="Does the process run",
        handler=live,
        answers={READY: Live},
        needs=None,
        versioned=False,
    ),
    Operation(
        method="GET",
        path="/ready",
        summary="Can the process serve, part by part",
        handler=ready,
        answers={READY: Ready, NOT_READY: Ready},
        needs=None,
        versioned=False,
    ),
    Operation(
        method="GET",
        path="/health",
        summary="Both in short",
        handler=health,
        answers={READY: Health, NOT_READY: Health},
        needs=None,
        versioned=False,
    ),
)


async def _examine(parts: Parts) -> dict[str, Part]:
    found: dict[str, Part] = {}

    async def examine(name: str, check: Check) -> None:
        reason: str | None = f"gave no answer within {parts.limits.check_timeout_s:g} s"
        with anyio.move_on_after(parts.limits.check_timeout_s):
            reason = await check()
        found[name] = Part(ready=reason is None, reason=reason)

    async with anyio.create_task_group() as tasks:
        for name, check in parts.readiness.items():
            tasks.start_soon(examine, name, check)
    return {name: found[name] for name in parts.readiness}


def _spares(parts: Parts) -> dict[str, Check]:
    """List what serving can do without: it bounds its own time, and never makes us unready."""
    return {} if parts.message_cache is None else {"redis": parts.message_cache.check}


async def _spare(check: Check) -> Part:
    reason = await check()
    return Part(ready=reason is None, reason=reason)


def _unready(body: Ready | Health) -> Answer:
    return Answer(status=NOT_READY, body=body, headers=[RETRY_AFTER])
