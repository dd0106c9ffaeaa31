"""The job type `send_webhook`: one signed POST to an endpoint or URL (Standard Webhooks 1.0)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import anyio
import msgspec

from signalstack.core.address import MAX_URL, check_url
from signalstack.core.endpoint import check_headers
from signalstack.core.errors import InvalidError
from signalstack.core.handler import Context, Fail, JobType, Retry
from signalstack.core.signature import sign
from signalstack.core.stage import Delivered, Observer
from signalstack.handlers.addressee import AddressBook
from signalstack.handlers.answer import Verdict, excerpt, judge
from signalstack.handlers.exchange import ask
from signalstack.handlers.outbound import (
    USER_AGENT,
    Outbound,
    TooSlowError,
    UnreachableError,
)
from signalstack.handlers.pinned import BlockedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signalstack.handlers.addressee import Addressee, Endpoints


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
        _check_headers(self.headers)
        if self.url is not None:
            _check_form(self.url)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a delivery; `body` is the first KiB of the reply, when it is text."""

    status: int
    duration_ms: float
    body: str | None


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
        self._addresses = AddressBook(outbound, observer, endpoints)

    async def run(self, payload: SendWebhook, context: Context) -> Delivery | None:
        """Deliver once; raise Retry or Fail as the answer asks, Postpone when it is not time."""
        if payload.endpoint_id is None:
            target = self._addresses.at(payload.url or "", payload.headers)
        else:
            target = await self._addresses.find(payload.endpoint_id, payload.headers, context)
        with self._observer.span("deliver", "client", attributes=ask("POST", target.to)) as span:
            trace = span.traceparent or context.traceparent
            verdict, delivery = await self._attempt(target, payload.body, context, trace)
            if delivery is not None:
                span.set({"http.response.status_code": delivery.status})
            if verdict.error is not None:
                kind = str(delivery.status) if delivery is not None else verdict.fact.outcome
                span.set({"error.type": kind})
                span.fail(verdict.error.reason)
            self._observer.tell(verdict.fact)
        await self._addresses.note(target, verdict, context)
        if verdict.error is not None:
            raise verdict.error
        return delivery

    async def _attempt(
        self, target: Addressee, content: object, context: Context, trace: str | None
    ) -> tuple[Verdict, Delivery | None]:
        now, started = datetime.now(UTC), anyio.current_time()
        # Encoded once: what is signed is what is sent, byte for byte.
        body = msgspec.json.encode(content)
        headers = _headers(target, body, context, trace, now)
        delivery: Delivery | None = None
        try:
            reply = await self._outbound.send("POST", target.to, headers=headers, body=body)
            verdict = judge(reply, now)
        except BlockedError as error:
            return Verdict(Delivered(outcome="blocked"), Fail(str(error))), None
        except TooSlowError as error:
            verdict = Verdict(Delivered(outcome="timeout"), Retry(str(error)))
        except UnreachableError as error:
            verdict = Verdict(Delivered(outcome="failed"), Retry(str(error)))
        else:
            delivery = Delivery(
                status=reply.status,
                duration_ms=round((anyio.current_time() - started) * 1_000, 3),
                body=excerpt(reply.body),
            )
        fact = msgspec.structs.replace(verdict.fact, duration_s=anyio.current_time() - started)
        return verdict._replace(fact=fact), delivery


def _check_headers(headers: Mapping[str, str]) -> None:
    try:
        check_headers(headers)
    except ValueError as error:
        raise ValueError(f"headers: {error}") from None


def _check_form(url: str) -> None:
    """Refuse what is no URL while its sender listens; whether it may be reached shows later."""
    try:
        check_url(url, allow_private=True)
    except InvalidError as error:
        raise ValueError(f"url: {error.faults[0].detail}") from error


def _headers(
    target: Addressee, body: bytes, context: Context, trace: str | None, now: datetime
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
