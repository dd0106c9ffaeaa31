"""What a leased job is to run: its type's function, and its payload as that type has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.store.link import StatementError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.core.handler import JobType, Registry
    from signalstack.store.dispatch import Lease

_ELSEWHERE_S: Final = 10.0
_AGAIN_S: Final = 1.0


class Reader:
    """Reads jobs; `fetch` gets the payload of one that did not come with its claim."""

    def __init__(self, registry: Registry, fetch: Callable[[Lease], Awaitable[bytes]]) -> None:
        self._registry = registry
        self._fetch = fetch
        self._decoders: dict[str, msgspec.json.Decoder[object]] = {}

    async def read(self, lease: Lease) -> tuple[JobType, object]:
        """Find the job's type and decode its payload.

        Raises Fail for what cannot be read now or ever, Retry where another worker may know the
        type, Postpone while PostgreSQL is away.
        """
        job_type = self._registry.get(lease.type)
        if job_type is None:
            # Another one may, while a new version is rolled out.
            reason = f"this worker has no handler for the job type {lease.type!r}"
            raise Retry(reason, after_s=_ELSEWHERE_S)
        decoder = self._decoders.get(lease.type)
        if decoder is None:
            decoder = self._decoders[lease.type] = msgspec.json.Decoder(job_type.payload)
        payload = lease.payload
        if payload is None:
            payload = await self._fetch_in_peace(lease)
        try:
            return job_type, decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Fail(f"the payload does not fit the job type: {error}") from error

    async def _fetch_in_peace(self, lease: Lease) -> bytes:
        try:
            return await self._fetch(lease)
        except UnavailableError as error:
            raise Postpone(f"the payload could not be read: {error}", after_s=_AGAIN_S) from error
        except (StatementError, ValueError) as error:
            raise Fail(f"the payload cannot be read: {error}") from error
