"""The job type `process_payment`: one charge asked of the operator's payment gateway over HTTP.

Whatever happens, the gateway sees the same Idempotency-Key for the same job: a charge whose answer
was lost is asked for again, and made once.
"""

from __future__ import annotations

import http
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec

from signalstack.core.errors import SettingsError
from signalstack.core.handler import Context, Fail, JobType, Retry
from signalstack.core.line import Line
from signalstack.handlers.answer import judge, retry_after
from signalstack.handlers.exchange import answered, ask
from signalstack.handlers.outbound import (
    MAX_REPLY_BYTES,
    USER_AGENT,
    Destination,
    Outbound,
    Reply,
    TooSlowError,
    UnreachableError,
)
from signalstack.handlers.pinned import BlockedError

if TYPE_CHECKING:
    from signalstack.core.stage import Observer

MAX_AMOUNT: Final = 10**12
MAX_METADATA: Final = 50
MAX_SAID: Final = 300

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_MESSAGE_FIELDS: Final = ("message", "detail", "error", "error_description", "title")

Currency = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Z]{3}(?![\s\S])",
        extra={"says": "must be three capital letters, such as EUR"},
    ),
]


class ProcessPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to charge how much: `amount` in the currency's minor unit, so 1999 EUR is 19.99 €.

    `customer` and `reference` are names that the gateway knows or keeps; card data has no place.
    """

    amount: Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
    currency: Currency
    customer: Line
    reference: Line
    description: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
    metadata: Annotated[dict[str, str], msgspec.Meta(max_length=MAX_METADATA)] | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """The result: what the gateway calls the payment, and where that stands."""

    id: str | None
    status: str | None
    http_status: int
    amount: int
    currency: str
    reference: str


def build(*, outbound: Outbound, observer: Observer, url: str | None, key: str | None) -> JobType:
    """Make the job type.

    Args:
        outbound: what it sends through; it may reach private addresses, since the operator, and
            no tenant, says where to.
        observer: is given a span for each request.
        url: the gateway's. Without it jobs are accepted (the API need not know the worker's
            settings) and fail with the reason.
        key: the bearer token for it.

    Raises:
        SettingsError: the URL or the key cannot be used.
    """
    if key is not None and not _VISIBLE.fullmatch(key):
        raise SettingsError("PAYMENT_GATEWAY_KEY must be visible ASCII characters alone")
    gateway = _Gateway(outbound, observer, _aim(outbound, url) if url else None, key)
    return JobType(name="process_payment", payload=ProcessPayment, run=gateway.run, is_async=True)


class _Gateway:
    """Holds what a payment needs besides its payload."""

    def __init__(
        self, outbound: Outbound, observer: Observer, to: Destination | None, key: str | None
    ) -> None:
        self._outbound = outbound
        self._observer = observer
        self._to = to
        self._key = key

    async def run(self, payload: ProcessPayment, context: Context) -> Charge:
        """Ask for the charge once; raise Retry or Fail as the answer asks."""
        if self._to is None:
            raise Fail("PAYMENT_GATEWAY_URL is not set in the worker's environment")
        try:
            reply = await self._ask(self._to, msgspec.json.encode(_told(payload)), context)
        except BlockedError as error:
            raise Fail(f"the payment gateway is refused: {error}") from error
        except (TooSlowError, UnreachableError) as error:
            raise Retry(f"the payment gateway cannot be reached: {error}") from error
        if (error := _verdict(reply, datetime.now(UTC))) is not None:
            raise error
        if not reply.complete and len(reply.body) < MAX_REPLY_BYTES:
            # What was charged is the gateway's to tell: asked with the same key, it says it again.
            raise Retry("the payment gateway's answer broke off")
        answer = _read(reply)
        return Charge(
            id=_short(answer.get("id")),
            status=_short(answer.get("status")),
            http_status=reply.status,
            amount=payload.amount,
            currency=payload.currency,
            reference=payload.reference,
        )

    async def _ask(self, to: Destination, body: bytes, context: Context) -> Reply:
        with self._observer.span("charge", "client", attributes=ask("POST", to)) as span:
            headers = self._headers(context, span.traceparent or context.traceparent)
            reply = await self._outbound.send("POST", to, headers=headers, body=body)
            answered(span, reply.status)
        return reply

    def _headers(self, context: Context, traceparent: str | None) -> dict[str, str]:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "idempotency-key": str(context.job_id),
            "user-agent": USER_AGENT,
        }
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return headers


def _aim(outbound: Outbound, url: str) -> Destination:
    try:
        return outbound.destination(url)
    except BlockedError as error:
        raise SettingsError(f"PAYMENT_GATEWAY_URL cannot be used: {error}") from error


def _told(payload: ProcessPayment) -> dict[str, object]:
    fields = cast("dict[str, object]", msgspec.to_builtins(payload))
    return {name: value for name, value in fields.items() if value is not None}


def _verdict(reply: Reply, now: datetime) -> Fail | Retry | None:
    error = judge(reply, now, who="the payment gateway").error
    if error is None:
        return None
    said = _message(_read(reply))
    reason = f"{error.reason}: {said}" if said else error.reason
    if reply.status == http.HTTPStatus.CONFLICT:
        # An earlier request with this key is still under way there.
        return Retry(reason, after_s=retry_after(reply.headers.get("retry-after"), now))
    return Retry(reason, after_s=error.after_s) if isinstance(error, Retry) else Fail(reason)


def _read(reply: Reply) -> dict[str, Any]:
    """Read the answer's JSON object; an empty one when it is none."""
    try:
        found = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _message(answer: dict[str, Any]) -> str | None:
    """Find the sentence in the usual shapes of an error, also one level down (`error.message`)."""
    inner = (answer.get(name) for name in _MESSAGE_FIELDS)
    nested = [cast("dict[str, Any]", value) for value in inner if isinstance(value, dict)]
    for level in (answer, *nested):
        for name in _MESSAGE_FIELDS:
            value = level.get(name)
            if isinstance(value, str) and (said := _short(value)):
                return said
    return None


def _short(value: object) -> str | None:
    """Make one short printable line of what a gateway said."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    line = " ".join(str(value).split())
    return "".join(char for char in line if char.isprintable())[:MAX_SAID] or None
