"""The job type `send_message`: one text handed to the operator's receiver, WEBHOOK_URL.

Whatever happens, the receiver sees the same Idempotency-Key for the same message: one whose answer
was lost is handed over again, and the receiver can tell. What goes wrong begins with its code,
before a colon, by which the message keeps it.
"""

from __future__ import annotations

import http
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from signalstack.core.errors import SettingsError, UnavailableError
from signalstack.core.handler import Context, Fail, JobType, Postpone, Retry
from signalstack.core.message import JOB_TYPE, ErrorCode, MessageRequest, payload_type
from signalstack.core.stage import MessageTried
from signalstack.handlers.answer import judge
from signalstack.handlers.exchange import ask
from signalstack.handlers.outbound import (
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

MAX_ID: Final = 200

# Lets no message leave for so many seconds, whichever process would send it.
Hold = Callable[[float], Awaitable[object]]

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_WHO: Final = "the receiver"


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The result: what the receiver calls the message."""

    webhook_message_id: str
    http_status: int


class _Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message was not taken; it is handed over again unless that is final."""

    code: ErrorCode
    reason: str
    final: bool = False
    after_s: float | None = None
    hold_s: float | None = None

    @property
    def error(self) -> Fail | Retry | Postpone:
        text = f"{self.code}: {self.reason}"
        if self.code is ErrorCode.RATE_LIMITED and self.hold_s is not None:
            # It was not looked at, and the receiver says when it will be: no attempt is lost.
            return Postpone(text, after_s=self.hold_s)
        return Fail(text) if self.final else Retry(text, after_s=self.after_s)


def build(
    *,
    outbound: Outbound,
    observer: Observer,
    hold: Hold,
    url: str | None,
    key: str | None,
    char_limit: int,
) -> JobType:
    """Make the job type.

    Args:
        outbound: what it sends through; it may reach private addresses, since the operator, and
            no tenant, says where to.
        observer: is told each attempt.
        hold: is told for how many seconds the receiver wants nothing at all.
        url: the receiver's. Without it jobs are accepted (the API need not know the worker's
            settings) and fail with the reason.
        key: for the header X-Auth-Key.
        char_limit: how many characters a text may have.

    Raises:
        SettingsError: the URL or the key cannot be used.
    """
    if key is not None and not _VISIBLE.fullmatch(key):
        raise SettingsError("WEBHOOK_AUTH_KEY must be visible ASCII characters alone")
    sender = _Sender(outbound, observer, hold, _aim(outbound, url) if url else None, key)
    return JobType(name=JOB_TYPE, payload=payload_type(char_limit), run=sender.run, is_async=True)


class _Sender:
    """Holds what sending needs besides the payload."""

    def __init__(
        self,
        outbound: Outbound,
        observer: Observer,
        hold: Hold,
        to: Destination | None,
        key: str | None,
    ) -> None:
        self._outbound = outbound
        self._observer = observer
        self._hold = hold
        self._to = to
        self._key = key

    async def run(self, payload: MessageRequest, context: Context) -> Sent:
        """Hand the message over once; raise Retry, Postpone or Fail as the answer asks."""
        if self._to is None:
            raise Fail("WEBHOOK_URL is not set in the worker's environment")
        with self._observer.span("deliver", "client", attributes=ask("POST", self._to)) as span:
            headers = self._headers(context, span.traceparent or context.traceparent)
            outcome = await self._hand_over(self._to, headers, payload)
            if isinstance(outcome, _Trouble):
                span.set({"error.type": outcome.code.value})
                span.fail(outcome.reason)
            else:
                span.set({"http.response.status_code": outcome.http_status})
        if isinstance(outcome, Sent):
            self._observer.tell(MessageTried(outcome="sent"))
            return outcome
        self._observer.tell(MessageTried(outcome=outcome.code.value))
        if outcome.hold_s is not None:
            await self._leave_alone(outcome.hold_s, context)
        raise outcome.error

    async def _leave_alone(self, hold_s: float, context: Context) -> None:
        try:
            await self._hold(hold_s)
        except UnavailableError as error:
            # The others will be told the same when they ask the receiver.
            context.logger.warning("messages_not_held", reason=str(error))

    async def _hand_over(
        self, to: Destination, headers: dict[str, str], payload: MessageRequest
    ) -> Sent | _Trouble:
        body = msgspec.json.encode({"to": payload.phone_number, "content": payload.content})
        try:
            reply = await self._outbound.send("POST", to, headers=headers, body=body)
        except BlockedError as error:
            return _Trouble(code=ErrorCode.CONNECTION, reason=f"{_WHO} is refused: {error}")
        except TooSlowError as error:
            return _Trouble(code=ErrorCode.TIMEOUT, reason=str(error))
        except UnreachableError as error:
            return _Trouble(code=ErrorCode.CONNECTION, reason=str(error))
        return _trouble(reply, datetime.now(UTC)) or _read(reply)

    def _headers(self, context: Context, traceparent: str | None) -> dict[str, str]:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "idempotency-key": str(context.job_id),
            "user-agent": USER_AGENT,
        }
        if self._key is not None:
            headers["x-auth-key"] = self._key
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return headers


def _aim(outbound: Outbound, url: str) -> Destination:
    try:
        return outbound.destination(url)
    except BlockedError as error:
        raise SettingsError(f"WEBHOOK_URL cannot be used: {error}") from error


def _trouble(reply: Reply, now: datetime) -> _Trouble | None:
    """Say what is wrong with an answer by its status alone; None when it is 2xx."""
    verdict = judge(reply, now, who=_WHO)
    error = verdict.error
    if error is None:
        return None
    match reply.status:
        case http.HTTPStatus.TOO_MANY_REQUESTS:
            code = ErrorCode.RATE_LIMITED
        case http.HTTPStatus.REQUEST_TIMEOUT:
            code = ErrorCode.TIMEOUT
        case _ if isinstance(error, Fail):
            code = ErrorCode.REJECTED
        case _:
            # 5xx and 425: it answered, but neither took the message nor refused it.
            code = ErrorCode.INVALID_RESPONSE
    return _Trouble(
        code=code,
        reason=error.reason,
        final=isinstance(error, Fail),
        after_s=error.after_s if isinstance(error, Retry) else None,
        hold_s=verdict.hold_s,
    )


def _read(reply: Reply) -> Sent | _Trouble:
    """Read the receiver's id of the message, without which nobody can say what became of it."""
    try:
        found = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    answer = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    name = answer.get("messageId", answer.get("message_id"))
    if isinstance(name, str | int) and not isinstance(name, bool):
        text = str(name)
        if 0 < len(text) <= MAX_ID and text.isprintable():
            return Sent(webhook_message_id=text, http_status=reply.status)
    reason = f"{_WHO} answered {reply.status} without a messageId that could be kept"
    return _Trouble(code=ErrorCode.INVALID_RESPONSE, reason=reason)
