"""A worker's invitation: who stores a job may lease it to a worker at rest, and ring its bell.

The bell carries the run. It is believed only when it names the token of the invitation; that and
the channel are known to nobody but the worker and who may read the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.job import Wake
from signalstack.store import binary
from signalstack.store.claims import Lease
from signalstack.store.link import Call, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.store.link import Link

_HOLD_LOCK: Final = Statement("invitations/hold_lock")
_OPEN: Final = Statement("invitations/open")
_CLOSE: Final = Statement("invitations/close")
_WITHDRAW: Final = Statement("invitations/withdraw")
_LOOK: Final = Statement("invitations/look")
STATEMENTS: Final = (_HOLD_LOCK, _OPEN, _CLOSE, _WITHDRAW, _LOOK)

# As signalstack.hand_over writes it.
_Bell = tuple[int, UUID, UUID, str, str, int, float | None, float, str | None, bool, msgspec.Raw]
_decode: Final = msgspec.json.Decoder(_Bell).decode


class Invitation:
    """The row of one worker, over the link that hears its bell."""

    def __init__(self, link: Link, channel: str, queues: Sequence[str]) -> None:
        """No queues means all of them."""
        self._link = link
        self._channel = channel
        self._queues = queues

    @property
    def audible(self) -> bool:
        """Whether a bell would be heard: not while the link is down or leads through a pooler."""
        return self._link.up and not self._link.pooled

    async def hold_lock(self, key: int) -> None:
        """Hold a lock while this connection lives: without one nobody takes the invitation."""
        await self._link.run(Call(_HOLD_LOCK, (binary.pack_int8(key),)))

    async def open(self, worker_id: UUID, *, token: int, lock_key: int) -> None:
        """Invite; the run that comes of it has this lease token."""
        await self._link.run(
            Call(
                _OPEN,
                (
                    worker_id.bytes,
                    self._channel.encode(),
                    binary.text_array(self._queues),
                    binary.pack_int8(lock_key),
                    binary.pack_int8(token),
                ),
            )
        )

    async def close(self, worker_id: UUID) -> int | None:
        """Close it, unless it is being taken just now; returns its token if it was open."""
        return await self._token(_CLOSE, worker_id)

    async def withdraw(self, worker_id: UUID) -> int | None:
        """Remove it once nobody is taking it any more; returns its token if it was open."""
        return await self._token(_WITHDRAW, worker_id)

    async def look(self, worker_id: UUID) -> int | None:
        """Tell its token while nobody has taken it."""
        return await self._token(_LOOK, worker_id)

    async def _token(self, statement: Statement, worker_id: UUID) -> int | None:
        (result,) = await self._link.run(Call(statement, (worker_id.bytes,)))
        value = result.get_value(0, 0) if result.ntuples else None
        return None if value is None else binary.read_int8(value)


def read_bell(text: str) -> Lease | None:
    """Read what a bell says; None when it is not one of ours. Its token is yet to be compared."""
    try:
        run = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    token, user_id, id_, type_, queue, most, timeout_s, due_at, traceparent, inline, payload = run
    return Lease(
        user_id=user_id.bytes,
        id=id_.bytes,
        job_id=id_,
        type=type_,
        queue=queue,
        attempt=1,
        max_attempts=most,
        timeout_s=timeout_s,
        due_at=due_at,
        wake=Wake.NOTIFY,
        traceparent=traceparent,
        payload=bytes(payload) if inline else None,
        token=token,
    )
