"""Where a webhook goes: its endpoint as the tenant has it, when it may be sent, what it learns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from uuid import UUID

from signalstack.core.endpoint import DeliveryEndpoint, check_headers
from signalstack.core.errors import UnavailableError
from signalstack.core.handler import Context, Fail, Postpone
from signalstack.core.stage import Delivered, Observer, PutOff
from signalstack.handlers.pinned import BlockedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signalstack.handlers.answer import Verdict
    from signalstack.handlers.outbound import Destination, Outbound

FindEndpoint = Callable[[UUID, UUID], Awaitable[DeliveryEndpoint | None]]
DisableEndpoint = Callable[[UUID, UUID, str, str], Awaitable[object]]
RecordFailure = Callable[[UUID, UUID, str, str], Awaitable[bool]]
ClearFailures = Callable[[UUID, UUID], Awaitable[object]]
HoldEndpoint = Callable[[UUID, UUID, str, float], Awaitable[object]]

_AGAIN_S: Final = 1.0  # after which what PostgreSQL could not tell is asked again


class TakeTurn(Protocol):
    """Asks when a delivery may begin; `again` says that it was put off before."""

    async def __call__(self, user_id: UUID, endpoint_id: UUID, /, *, again: bool) -> float:
        """Return 0 for now, or after how many seconds to ask again."""
        ...


class Endpoints(NamedTuple):
    """How deliveries reach the tenants' endpoints; all of it by (user_id, endpoint_id).

    `find` returns None when there is none. `take` is asked for one that is paced, and `hold` told
    for how many seconds its receiver wants to be left alone. `disable` is called when a receiver
    says 410 Gone, `failed` when a delivery was not taken (it tells whether the endpoint was
    switched off for it), and `recovered` when one was taken after others were not. What a receiver
    teaches is told with the url that was used: it says nothing of another one given meanwhile.
    """

    find: FindEndpoint
    take: TakeTurn
    hold: HoldEndpoint
    disable: DisableEndpoint
    failed: RecordFailure
    recovered: ClearFailures


class Addressee(NamedTuple):
    """Whom a delivery goes to; no secrets where it is a bare URL."""

    to: Destination
    headers: dict[str, str]
    secrets: Sequence[str] = ()
    endpoint_id: UUID | None = None
    url: str = ""
    failing: bool = False


class AddressBook:
    """Finds whom a delivery goes to and keeps what became of it."""

    def __init__(self, outbound: Outbound, observer: Observer, endpoints: Endpoints) -> None:
        self._outbound = outbound
        self._observer = observer
        self._endpoints = endpoints

    def at(self, url: str, headers: Mapping[str, str]) -> Addressee:
        """Make an addressee of a bare URL."""
        return Addressee(to=self._aim(url), headers=_merged(headers))

    async def find(
        self, endpoint_id: UUID, headers: Mapping[str, str], context: Context
    ) -> Addressee:
        """Find an endpoint of the tenant's whose turn it is; Postpone where it is not yet.

        Raises:
            Fail: there is none, it is switched off, or its address or a header is refused.
            Postpone: its rate is used up, its receiver wants to be left alone, or PostgreSQL is
                away: nothing was sent, so no attempt is used up.
        """
        try:
            return await self._find(endpoint_id, headers, context)
        except UnavailableError as error:
            reason = f"the endpoint could not be read: {error}"
            raise Postpone(reason, after_s=_AGAIN_S) from error

    async def note(self, addressee: Addressee, verdict: Verdict, context: Context) -> None:
        """Keep what the delivery taught about its endpoint; one that works costs no write."""
        if addressee.endpoint_id is None:
            return
        who = (context.user_id, addressee.endpoint_id)
        at = (*who, addressee.url)
        try:
            if verdict.hold_s is not None:
                await self._endpoints.hold(*at, verdict.hold_s)
            if verdict.fact.outcome == "gone":
                reason = f"410 Gone in answer to job {context.job_id}"
                await self._endpoints.disable(*at, reason)
            elif verdict.error is not None:
                if await self._endpoints.failed(*at, verdict.error.reason):
                    context.logger.warning("endpoint_disabled", endpoint_id=str(who[1]))
            elif addressee.failing:
                await self._endpoints.recovered(*who)
        except UnavailableError as error:
            # The delivery is done: failing the job for this note would send it once more.
            context.logger.warning("endpoint_not_noted", reason=str(error))

    async def _find(
        self, endpoint_id: UUID, headers: Mapping[str, str], context: Context
    ) -> Addressee:
        endpoint = await self._endpoints.find(context.user_id, endpoint_id)
        if endpoint is None:
            raise Fail(f"there is no endpoint {endpoint_id}")
        if not endpoint.active:
            why = endpoint.disabled_reason or "switched off"
            raise Fail(f"the endpoint {endpoint.id} is not active: {why}")
        found = Addressee(
            to=self._aim(endpoint.url),
            headers=_merged(endpoint.headers, headers),
            secrets=endpoint.secrets,
            endpoint_id=endpoint.id,
            url=endpoint.url,
            failing=endpoint.failing,
        )
        if endpoint.paced:
            await self._wait_for_turn(endpoint.id, context)
        return found

    async def _wait_for_turn(self, endpoint_id: UUID, context: Context) -> None:
        again = context.postponed_since is not None
        wait_s = await self._endpoints.take(context.user_id, endpoint_id, again=again)
        if wait_s > 0:
            self._observer.tell(PutOff(job=context.job_id, wait_s=wait_s))
            raise Postpone(
                f"the endpoint {endpoint_id} takes no more for now (its rate, or its receiver's"
                f" Retry-After): put off for {wait_s:.3g} s",
                after_s=wait_s,
            )

    def _aim(self, url: str) -> Destination:
        try:
            return self._outbound.destination(url)
        except BlockedError as error:
            self._observer.tell(Delivered(outcome="blocked"))
            raise Fail(f"the URL is refused: {error}") from error


def _merged(*sources: Mapping[str, str]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for headers in sources:
        try:
            # Checked when they were accepted; once more, because a row can be written by hand.
            check_headers(headers)
        except ValueError as error:
            raise Fail(f"a header is refused: {error}") from error
        merged |= {name.lower(): value for name, value in headers.items()}
    return merged
