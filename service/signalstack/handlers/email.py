"""The job type `send_email`: one message handed to the operator's mail server over SMTP."""

from __future__ import annotations

import re
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import TYPE_CHECKING, Annotated, Final

import aiosmtplib
import anyio
import msgspec

from signalstack.core.handler import Context, Fail, JobType, Retry
from signalstack.core.mail import ADDRESS, ADDRESS_RULE, MAX_ADDRESS, Mailbox, Tls, read_mailbox

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterable

    from signalstack.core.mail import MailServer
    from signalstack.core.stage import Observer

MAX_RECIPIENTS: Final = 100
MAX_SUBJECT: Final = 500
MAX_SAID: Final = 200

_PERMANENT: Final = 500
# Waits of a mail server's own, such as greeting late to deter spam, last that long; the job's
# timeout ends all of it.
_STEP_S: Final = 20.0
_GOOD_BYE_S: Final = 1.0
# Old servers take 7-bit text only; and a line must not begin to differ on its way (DKIM).
_POLICY: Final = SMTP_POLICY.clone(cte_type="7bit")

# Python would decode it where it was meant as it stands, line feeds and all (CVE-2024-6923).
_ENCODED: Final = re.compile(r"=\?.*\?=")

MailAddress = Annotated[
    str,
    msgspec.Meta(
        min_length=3, max_length=MAX_ADDRESS, pattern=ADDRESS, extra={"says": ADDRESS_RULE}
    ),
]
# One alone has no pattern here: msgspec 0.22 corrupts the heap when a string with a pattern stands
# in a union with a list.
OneOrMore = (
    Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_ADDRESS)]
    | Annotated[list[MailAddress], msgspec.Meta(min_length=1, max_length=MAX_RECIPIENTS)]
)
# No control character: a line feed would begin a header of the caller's making.
Subject = Annotated[
    str,
    msgspec.Meta(
        max_length=MAX_SUBJECT,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*(?![\s\S])",
        extra={"says": "must be one line, without control characters"},
    ),
]


class SendEmail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets what; addresses are like `ada@example.com` or `Ada <ada@example.com>`."""

    to: OneOrMore
    subject: Subject
    text: str | None = None
    html: str | None = None
    cc: OneOrMore | None = None
    reply_to: MailAddress | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.html is None:
            raise ValueError("give text, html or both")
        if _ENCODED.search(self.subject):
            raise ValueError("subject: must not hold an encoded word (=?…?=)")
        count = 0
        for name, given in (("to", self.to), ("cc", self.cc), ("reply_to", self.reply_to)):
            try:
                found = len(_mailboxes(given))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            count += found if name != "reply_to" else 0
        if count > MAX_RECIPIENTS:
            raise ValueError(f"to: at most {MAX_RECIPIENTS} recipients, not {count}")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient that the mail server did not take."""

    address: str
    reason: str


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The result: for whom the server took the message, and for whom not."""

    message_id: str
    accepted: list[str]
    refused: list[Refusal]


def build(
    *,
    observer: Observer,
    server: MailServer | None,
    sender: Mailbox | None,
    tls: ssl.SSLContext | None = None,
    step_s: float = _STEP_S,
) -> JobType:
    """Make the job type.

    Args:
        observer: is given a span for each conversation.
        server: where mail is handed in. Without it, or without a sender, jobs are accepted (the
            API need not know the worker's settings) and fail with the reason.
        sender: whom mail comes from.
        tls: whom to trust instead of the system's authorities.
        step_s: seconds for each step of the conversation.
    """
    mailer = _Mailer(observer, server, sender, tls, step_s)
    return JobType(name="send_email", payload=SendEmail, run=mailer.run, is_async=True)


class _Mailer:
    """Holds what sending needs besides its payload."""

    def __init__(
        self,
        observer: Observer,
        server: MailServer | None,
        sender: Mailbox | None,
        tls: ssl.SSLContext | None,
        step_s: float,
    ) -> None:
        self._observer = observer
        self._server = server
        self._sender = sender
        self._tls = tls
        self._step_s = step_s

    async def run(self, payload: SendEmail, context: Context) -> Sent:
        """Send once; raise Retry or Fail as the server's answer asks."""
        if self._server is None or self._sender is None:
            missing = "SMTP_URL" if self._server is None else "MAIL_FROM"
            raise Fail(f"{missing} is not set in the worker's environment: mail cannot be sent")
        message_id = f"<{context.job_id}@{self._sender.domain}>"
        try:
            content = _compose(payload, self._sender, message_id).as_bytes()
        except (ValueError, MessageError) as error:
            raise Fail(f"the message cannot be written: {_plain(error)}") from error
        to = _specs([*_mailboxes(payload.to), *_mailboxes(payload.cc)])
        try:
            server = {"server.address": self._server.host, "server.port": self._server.port}
            with self._observer.span("mail", "client", attributes=server):
                async with self._session(self._server) as session:
                    refused, _ = await session.sendmail(self._sender.spec, to, content)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _verdict(error) from error
        refusals = [
            Refusal(address=address, reason=_said(answer.code, answer.message))
            for address, answer in refused.items()
        ]
        if refusals:
            # No retry: it would reach those again for whom the message was taken.
            context.logger.warning("email_partly_refused", refused=len(refusals))
        accepted = [address for address in to if address not in refused]
        return Sent(message_id=message_id, accepted=accepted, refused=refusals)

    @asynccontextmanager
    async def _session(self, server: MailServer) -> AsyncGenerator[aiosmtplib.SMTP]:
        session = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=socket.gethostname(),
            timeout=self._step_s,
            use_tls=server.tls is Tls.IMPLICIT,
            start_tls={Tls.REQUIRED: True, Tls.OFFERED: None}.get(server.tls, False),
            tls_context=self._tls,
        )
        try:
            await session.connect()
            yield session
            await _part(session)
        finally:
            session.close()


async def _part(session: aiosmtplib.SMTP) -> None:
    """Say good-bye; the message is taken, so nothing that goes wrong now may send it again."""
    # Nor may a deadline or a shutdown, which would lose that it was taken.
    with anyio.move_on_after(_GOOD_BYE_S, shield=True):
        try:
            await session.quit()
        except (aiosmtplib.SMTPException, OSError):
            return


def _compose(payload: SendEmail, sender: Mailbox, message_id: str) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["From"] = _header([sender])
    message["To"] = _header(_mailboxes(payload.to))
    if payload.cc is not None:
        message["Cc"] = _header(_mailboxes(payload.cc))
    if payload.reply_to is not None:
        message["Reply-To"] = _header(_mailboxes(payload.reply_to))
    message["Subject"] = payload.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    # The same in every attempt: who gets the message twice can tell.
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: keeps vacation notices away
    if payload.text is not None:
        message.set_content(payload.text)
    if payload.html is not None and payload.text is not None:
        message.add_alternative(payload.html, subtype="html")
    elif payload.html is not None:
        message.set_content(payload.html, subtype="html")
    return message


def _mailboxes(given: str | list[str] | None) -> list[Mailbox]:
    if given is None:
        return []
    return [read_mailbox(text) for text in ([given] if isinstance(given, str) else given)]


def _header(mailboxes: Iterable[Mailbox]) -> tuple[Address, ...]:
    return tuple(Address(display_name=box.name, addr_spec=box.spec) for box in mailboxes)


def _specs(mailboxes: Iterable[Mailbox]) -> list[str]:
    return list(dict.fromkeys(box.spec for box in mailboxes))


def _verdict(error: Exception) -> Fail | Retry:
    """Say what becomes of the job; what a server says of credentials is never quoted."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            refused = error.recipients
            said = "; ".join(f"{one.recipient}: {_said(one.code, one.message)}" for one in refused)
            reason = f"the mail server refused all recipients: {said}"
            final = all(one.code >= _PERMANENT for one in refused)
        case aiosmtplib.SMTPAuthenticationError():
            reason = f"the mail server did not let us in ({error.code}): see SMTP_URL"
            final = error.code >= _PERMANENT
        case aiosmtplib.SMTPResponseException():
            reason = f"the mail server answered {_said(error.code, error.message)}"
            final = error.code >= _PERMANENT
        case OSError():  # no connection, no trust in it, too slow, or broken off
            reason, final = f"the mail server cannot be reached: {_plain(error)}", False
        case _:  # it lacks what we need, such as STARTTLS or a way to log in
            reason, final = f"the mail server cannot be used: {_plain(error)}", True
    return Fail(reason) if final else Retry(reason)


def _said(code: int, message: str) -> str:
    return f"{code} {_cut(message)}".rstrip()


def _plain(error: Exception) -> str:
    return _cut(str(error)) or type(error).__name__


def _cut(text: str) -> str:
    """Make one short printable line of what a server said."""
    line = " ".join(text.split())
    return "".join(char for char in line if char.isprintable())[:MAX_SAID]
