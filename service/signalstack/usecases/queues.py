"""Which queues a tenant may use: known for a moment, asked again before a refusal."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

from signalstack.core.errors import InvalidError
from signalstack.core.job import DEFAULT_QUEUE
from signalstack.store import audit, queues

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from signalstack.store.pool import Pool

TENANTS_LIMIT: Final = 10_000
# Wrong names are asked for at most this often per tenant, so that they cost no query each.
_FRESH_S: Final = 1.0


class KnownQueues:
    """The queues of the tenants whose jobs came last, a bounded number of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[UUID, tuple[float, set[str]]] = OrderedDict()

    def knows(self, user_id: UUID, queue: str) -> bool:
        """Tell whether the tenant may use the queue, as far as that is known without asking."""
        if queue == DEFAULT_QUEUE:
            return True
        known = self._known.get(user_id)
        return known is not None and queue in known[1]

    async def check(self, user_id: UUID, queue: str, pointer: str) -> None:
        """Raise InvalidError at the pointer unless the tenant may use the queue."""
        if self.knows(user_id, queue):
            return
        read_at, known = self._known.get(user_id, (-_FRESH_S, set[str]()))
        if monotonic() - read_at >= _FRESH_S:
            known = await self._read(user_id)
        if queue not in known:
            names = ", ".join(sorted(known))
            raise InvalidError.at(pointer, f"{queue!r} does not exist; there are: {names}")

    def forget(self, user_id: UUID) -> None:
        """Ask again for the tenant's queues when next one is named."""
        self._known.pop(user_id, None)

    async def _read(self, user_id: UUID) -> set[str]:
        async with self._pool.connection(user_id) as conn:
            known = await queues.known(conn, user_id=user_id)
        self._known[user_id] = (monotonic(), known)
        self._known.move_to_end(user_id)
        if len(self._known) > TENANTS_LIMIT:
            self._known.popitem(last=False)
        return known


async def declare(pool: Pool, names: Sequence[str]) -> None:
    """Open queues to every tenant, since a worker of the operator's serves them."""
    async with pool.transaction() as conn:
        await audit.sign(conn)
        await queues.declare(conn, names=names)
