"""What a leased job is to run: its type's function, and its payload as that type has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.errors import UnavailableError
from signalstack.core.fit import explain
from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.subscription import read_unfilled
from signalstack.store.link import StatementError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from signalstack.core.handler import JobType, Registry
    from signalstack.store.claims import Lease

_ELSEWHERE_S: Final = 10.0
_AGAIN_S: Final = 1.0
# Somebody holds the table, or this lost against another: no payload is to blame.
_HELD: Final = ("40", "55")
# Out of resources, took too long, the disk: this payload may be to blame, or not.
_DOUBTFUL: Final = ("53", "57", "58")


class Reader:
    """Reads jobs; `fetch` gets the payload of one that did not come with its claim."""

    def __init__(self, registry: Registry, fetch: Callable[[Lease], Awaitable[bytes]]) -> None:
        self._registry = registry
        self._fetch = fetch
        self._known: dict[str, tuple[JobType, Callable[[bytes], object]]] = {}

    def read(self, lease: Lease, payload: bytes) -> tuple[JobType, object]:
        """Find the job's type and decode its payload.

        Raises Fail for what can never be read, Retry where another worker may know the type.
        """
        known = self._known.get(lease.type)
        if known is None:
            job_type = self._registry.get(lease.type)
            if job_type is None:
                # Another one may, while a new version is rolled out.
                reason = f"this worker has no handler for the job type {lease.type!r}"
                raise Retry(reason, after_s=_ELSEWHERE_S)
            decode = msgspec.json.Decoder(job_type.payload).decode
            known = self._known[lease.type] = (job_type, decode)
        job_type, decode = known
        if (unfilled := read_unfilled(payload)) is not None:
            raise Fail(f"the subscription made no payload: {unfilled}")
        try:
            return job_type, decode(payload)
        except msgspec.ValidationError as error:
            fault = explain(error, job_type.payload)
            where = f"{fault.pointer}: " if fault.pointer else ""
            raise Fail(f"the payload does not fit the job type: {where}{fault.detail}") from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise Fail(f"the payload does not fit the job type: {error}") from error

    async def fetch(self, lease: Lease) -> bytes:
        """Get a payload that did not come with its claim.

        Raises Fail for one that cannot be had, Postpone while PostgreSQL is away or the table is
        locked, Retry where it cannot be told whose fault it is.
        """
        try:
            return await self._fetch(lease)
        except UnavailableError as error:
            raise Postpone(_could_not(error), after_s=_AGAIN_S) from error
        except StatementError as error:
            if error.sqlstate.startswith(_HELD):
                raise Postpone(_could_not(error), after_s=_AGAIN_S) from error
            if error.sqlstate.startswith(_DOUBTFUL):
                raise Retry(_could_not(error)) from error
            raise Fail(f"the payload cannot be read: {error}") from error
        except ValueError as error:
            raise Fail(f"the payload cannot be read: {error}") from error


def _could_not(error: Exception) -> str:
    return f"the payload could not be read: {error}"
