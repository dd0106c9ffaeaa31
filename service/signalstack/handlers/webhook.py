"""The job type `send_webhook`: one signed POST to an endpoint or URL (Standard Webhooks 1.0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from uuid import UUID

import anyio
import msgspec

from signalstack.core.address import MAX_URL, check_url
from signalstack.core.endpoint import DeliveryEndpoint, check_headers
from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.handler import Context, Fail, JobType, Retry
from signalstack.core.signature import sign
from signalstack.core.stage import Attributes, Delivered, Observer
from signalstack.handlers.answer import Verdict, excerpt, judge
from signalstack.handlers.outbound import (
    USER_AGENT,
    Destination,
    Outbound,
    TooSlowError,
    UnreachableError,
)
from signalstack.handlers.pinned import BlockedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FindEndpoint = Callable[[UUID, UUID], Awaitable[DeliveryEndpoint | None]]
DisableEndpoint = Callable[[UUID, UUID, str], Awaitable[object]]
RecordFailure = Callable[[UUID, UUID, str], Awaitable[bool]]
ClearFailures = Callable[[UUID, UUID], Awaitable[object]]


class SendWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to send and where: to an endpoint, signed with its secrets, or to a URL, unsigned.

    `headers` are added to the endpoint's and win over them.
    """

    body: Any
    endpoint_id: UUID | None = None
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL)] | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if (self.endpoint_id is None) == (self.url is None):
            raise ValueError("give either endpoint_id or url")
        check_headers(self.headers)
        if self.url is not None:
            _check_form(self.url)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a delivery; `body` is the first KiB of the reply, when it is text."""

    status: int
    duration_ms: float
    body: str | None


class _Target(NamedTuple):
    to: Destination
    headers: dict[str, str]
    secrets: Sequence[str] = ()
    endpoint_id: UUID | None = None
    failing: bool = False


class Endpoints(NamedTuple):
    """How deliveries reach the tenants' endpoints; all of it by (user_id, endpoint_id).

    `find` returns None when there is none. `disable` is called when a receiver says 410 Gone,
    `failed` when a delivery was not taken (it tells whether the endpoint was switched off for it),
    and `recovered` when one was taken after others were not.
    """

    find: FindEndpoint
    disable: DisableEndpoint
    failed: RecordFailure
    recovered: ClearFailures


def build(*, outbound: Outbound, observer: Observer, endpoints: Endpoints) -> JobType:
    """Make the job type.

    Args:
        outbound: what it sends through; holds the time limit and the address rules.
        observer: is told each delivery.
        endpoints: where deliveries go, and what they learn about it.
    """
    deliverer = _Deliverer(outbound, observer, endpoints)
    return JobType(name="send_webhook", payload=SendWebhook, run=deliverer.run, is_async=True)


class _Deliverer:
    """Holds what a delivery needs besides its payload."""

    def __init__(self, outbound: Outbound, observer: Observer, endpoints: Endpoints) -> None:
        self._outbound = outbound
        self._observer = observer
        self._endpoints = endpoints

    async def run(self, payload: SendWebhook, context: Context) -> Delivery | None:
        """Deliver once; raise Retry or Fail as the answer asks."""
        target = await self._target(payload, context.user_id)
        with self._observer.span("deliver", "client", attributes=_attributes(target.to)) as span:
            trace = span.traceparent or context.traceparent
            verdict, delivery = await self._attempt(target, payload.body, context, trace)
            if delivery is not None:
                span.set({"http.response.status_code": delivery.status})
            if verdict.error is not None:
                span.fail(verdict.error.reason)
        self._observer.tell(verdict.fact)
        await self._note(target, verdict, context)
        if verdict.error is not None:
            raise verdict.error
        return delivery

    async def _note(self, target: _Target, verdict: Verdict, context: Context) -> None:
        """Keep what the delivery taught about its endpoint; one that works costs no write."""
        if target.endpoint_id is None:
            return
        who = (context.user_id, target.endpoint_id)
        try:
            if verdict.fact.outcome == "gone":
                reason = f"410 Gone in answer to job {context.job_id}"
                await self._endpoints.disable(*who, reason)
            elif verdict.error is not None:
                if await self._endpoints.failed(*who, verdict.error.reason):
                    context.logger.warning("endpoint_disabled", endpoint_id=str(who[1]))
            elif target.failing:
                await self._endpoints.recovered(*who)
        except UnavailableError as error:
            # The delivery is done: failing the job for this note would send it once more.
            context.logger.warning("endpoint_not_noted", reason=str(error))

    async def _target(self, payload: SendWebhook, user_id: UUID) -> _Target:
        if payload.endpoint_id is None:
            return _Target(to=self._aim(payload.url or ""), headers=_merged(payload.headers))
        endpoint = await self._endpoints.find(user_id, payload.endpoint_id)
        if endpoint is None:
            raise Fail(f"there is no endpoint {payload.endpoint_id}")
        if not endpoint.active:
            why = endpoint.disabled_reason or "switched off"
            raise Fail(f"the endpoint {endpoint.id} is not active: {why}")
        return _Target(
            to=self._aim(endpoint.url),
            headers=_merged(endpoint.headers, payload.headers),
            secrets=endpoint.secrets,
            endpoint_id=endpoint.id,
            failing=endpoint.failing,
        )

    def _aim(self, url: str) -> Destination:
        try:
            return self._outbound.destination(url)
        except BlockedError as error:
            self._observer.tell(Delivered(outcome="blocked"))
            raise Fail(f"the URL is refused: {error}") from error

    async def _attempt(
        self, target: _Target, content: object, context: Context, trace: str | None
    ) -> tuple[Verdict, Delivery | None]:
        now, started = datetime.now(UTC), anyio.current_time()
        # Encoded once: what is signed is what is sent, byte for byte.
        body = msgspec.json.encode(content)
        headers = _headers(target, body, context, trace, now)
        try:
            reply = await self._outbound.send("POST", target.to, headers=headers, body=body)
        except BlockedError as error:
            return Verdict(Delivered(outcome="blocked"), Fail(str(error))), None
        except TooSlowError as error:
            return Verdict(Delivered(outcome="timeout"), Retry(str(error))), None
        except UnreachableError as error:
            return Verdict(Delivered(outcome="failed"), Retry(str(error))), None
        duration_ms = round((anyio.current_time() - started) * 1_000, 3)
        delivery = Delivery(status=reply.status, duration_ms=duration_ms, body=excerpt(reply.body))
        return judge(reply, now), delivery


def _check_form(url: str) -> None:
    """Refuse what is no URL while its sender listens; whether it may be reached shows later."""
    try:
        check_url(url, allow_private=True)
    except InvalidError as error:
        raise ValueError(f"url: {error.faults[0].detail}") from error


def _headers(
    target: _Target, body: bytes, context: Context, trace: str | None, now: datetime
) -> dict[str, str]:
    """Put the headers together; ours come last, so that nothing else can stand in for them."""
    timestamp = int(now.timestamp())
    headers = {"content-type": "application/json", **target.headers}
    headers |= {
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        "webhook-id": str(context.job_id),
        "webhook-timestamp": str(timestamp),
        "webhook-attempt": str(context.attempt),
    }
    if trace is not None:
        headers["traceparent"] = trace
    if target.secrets:
        headers["webhook-signature"] = sign(
            target.secrets, id=str(context.job_id), timestamp=timestamp, body=body
        )
    return headers


def _attributes(to: Destination) -> Attributes:
    return {
        "http.request.method": "POST",
        "server.address": to.host,
        "server.port": to.port,
        "url.scheme": to.scheme,
    }


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
