"""Seats that a worker at rest keeps open: who stores a job leases it to one and rings its bell.

The bell carries the run. It is believed only when it names the token of a seat that is open; that
token and the channel are known to nobody but the worker and who may read `invitations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.job import Wake
from signalstack.store import binary
from signalstack.store.dispatch import Lease
from signalstack.store.link import Call, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signalstack.store.link import Link

_HOLD_LOCK: Final = Statement("invitations/hold_lock")
_OPEN: Final = Statement("invitations/open")
_CLOSE: Final = Statement("invitations/close")
_LIST_OPEN: Final = Statement("invitations/list_open")
STATEMENTS: Final = (_HOLD_LOCK, _OPEN, _CLOSE, _LIST_OPEN)

# As signalstack.hand_over writes it.
_Bell = tuple[int, UUID, UUID, str, str, int, float | None, float, str | None, bool, msgspec.Raw]
_decode: Final = msgspec.json.Decoder(_Bell).decode


class Seats:
    """The rows of one worker's invitations, over the link that hears its bell."""

    def __init__(self, link: Link, channel: str) -> None:
        self._link = link
        self._channel = channel

    @property
    def audible(self) -> bool:
        """Whether a bell would be heard: not while the link is down or leads through a pooler."""
        return self._link.up and not self._link.pooled

    async def hold_lock(self, key: int) -> None:
        """Hold a lock while this connection lives: nobody takes a seat of a worker without one."""
        await self._link.run(Call(_HOLD_LOCK, (binary.pack_int8(key),)))

    async def open(
        self,
        seats: Mapping[int, int],
        *,
        worker_id: UUID,
        queues: Sequence[str],
        lock_key: int,
    ) -> None:
        """Open seats, by their numbers, each with a lease token; no queues means all of them."""
        call = Call(
            _OPEN,
            (
                worker_id.bytes,
                self._channel.encode(),
                binary.text_array(queues),
                binary.pack_int8(lock_key),
                binary.int2_array(seats),
                binary.int8_array(seats.values()),
            ),
        )
        await self._link.run(call)

    async def close(self, worker_id: UUID) -> set[int]:
        """Close all seats of a worker; returns the tokens of those that nobody had taken."""
        return await self._tokens(_CLOSE, worker_id)

    async def list_open(self, worker_id: UUID) -> set[int]:
        """Tell the tokens of a worker's seats that nobody has taken."""
        return await self._tokens(_LIST_OPEN, worker_id)

    async def _tokens(self, statement: Statement, worker_id: UUID) -> set[int]:
        (result,) = await self._link.run(Call(statement, (worker_id.bytes,)))
        values = (result.get_value(row, 0) for row in range(result.ntuples))
        return {binary.read_int8(value) for value in values if value is not None}


def read_bell(text: str) -> Lease | None:
    """Read what a bell says; None when it is not one of ours. Its token is yet to be compared."""
    try:
        (
            token,
            user_id,
            job_id,
            type_,
            queue,
            max_attempts,
            timeout_s,
            due_at,
            traceparent,
            inline,
            payload,
        ) = _decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return Lease(
        user_id=user_id.bytes,
        id=job_id.bytes,
        job_id=job_id,
        type=type_,
        queue=queue,
        attempt=1,
        max_attempts=max_attempts,
        timeout_s=timeout_s,
        due_at=due_at,
        wake=Wake.NOTIFY,
        traceparent=traceparent,
        payload=bytes(payload) if inline else None,
        token=token,
    )
