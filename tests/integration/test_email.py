"""What `send_email` hands to a real SMTP server, and what each of its answers makes of the job."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import anyio.from_thread
import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from contexts import RunContext, Witness
from signalstack.core.handler import Fail, Retry
from signalstack.core.mail import read_mailbox, read_server
from signalstack.handlers import email
from signalstack.handlers.email import SendEmail, Sent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiosmtpd.smtp import Envelope, Session

CERTIFICATE = Path(__file__).parents[1] / "tls" / "receiver.test.pem"
PASSWORD = "s3cret/pass"  # noqa: S105 - of a server that lives as long as one test
FROM = "Shop <shop@example.com>"
BODY = {"to": "ada@example.com", "subject": "Hello", "text": "Hi Ada"}


class Mailroom:
    """An SMTP server's handler that keeps what it gets, and answers as it was told to."""

    def __init__(self) -> None:
        self.port = 0
        self.mail: list[tuple[str, list[str], EmailMessage]] = []
        self.refuse: dict[str, str] = {}
        self.answer_data = "250 kept"
        self.silent = False
        self.lingers = False

    async def handle_RCPT(  # noqa: N802 - aiosmtpd names it so
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd names it so
        if self.silent:
            await asyncio.Event().wait()
        content = cast("bytes", envelope.content)
        message = message_from_bytes(content, EmailMessage, policy=policy.default)
        self.mail.append((envelope.mail_from or "", list(envelope.rcpt_tos), message))
        return self.answer_data

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd names it so
        if self.lingers:
            await asyncio.Event().wait()
        return "221 bye"


@asynccontextmanager
async def mailroom(**options: Any) -> AsyncGenerator[Mailroom]:
    """Serve on loopback, on a plain asyncio loop of its own: aiosmtpd's STARTTLS needs that one."""
    room = Mailroom()
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_serve(room, options)),
    ):
        yield room


@asynccontextmanager
async def _serve(room: Mailroom, options: dict[str, Any]) -> AsyncGenerator[None]:
    loop = asyncio.get_running_loop()

    def accept() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # of a password in the clear
            return SMTP(room, loop=loop, hostname="mail.test", **options)

    server = await loop.create_server(accept, "127.0.0.1", 0)
    room.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        # Not `async with`: from Python 3.12 on it waits for clients, which wait for us.
        server.close()


async def send(
    url: str,
    *,
    context: RunContext | None = None,
    tls: ssl.SSLContext | None = None,
    step_s: float = 5,
    witness: Witness | None = None,
    **payload: Any,
) -> Sent:
    """Run a job as a worker would: from the payload's JSON to the result's."""
    job_type = email.build(
        observer=witness or Witness(),
        server=read_server(url),
        sender=read_mailbox(FROM),
        tls=tls,
        step_s=step_s,
    )
    decoded = msgspec.json.decode(msgspec.json.encode(BODY | payload), type=SendEmail)
    result = await cast("Any", job_type.run)(decoded, context or RunContext())
    return msgspec.json.decode(msgspec.json.encode(result), type=Sent)


async def test_message_arrives_as_it_was_meant() -> None:
    context = RunContext()
    async with mailroom() as room:
        result = await send(
            f"smtp://127.0.0.1:{room.port}",
            context=context,
            to=["Ada Lovelace <ada@example.com>", "bob@example.org"],
            cc="Zoë, Ops <zoe@example.net>",
            reply_to="help@example.com",
            subject="Grüße",
            text="Größe: 10 €\n.\nend",
            html="<p>10 €</p>",
        )

    ((sender, recipients, message),) = room.mail
    assert sender == "shop@example.com"
    assert recipients == ["ada@example.com", "bob@example.org", "zoe@example.net"]
    assert result.accepted == recipients
    assert result.refused == []
    assert message["From"] == "Shop <shop@example.com>"
    assert message["To"] == "Ada Lovelace <ada@example.com>, bob@example.org"
    assert [str(one.display_name) for one in message["Cc"].addresses] == ["Zoë, Ops"]
    assert message["Reply-To"] == "help@example.com"
    assert message["Subject"] == "Grüße"
    assert message["Message-ID"] == f"<{context.job_id}@example.com>" == result.message_id
    assert message["Date"].datetime is not None
    plain, rich = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert rich is not None
    assert plain.get_content().splitlines() == ["Größe: 10 €", ".", "end"]
    assert rich.get_content().strip() == "<p>10 €</p>"


@pytest.mark.parametrize(("kind", "type_"), [("text", "text/plain"), ("html", "text/html")])
async def test_message_of_one_kind_has_one_part(kind: str, type_: str) -> None:
    parts: dict[str, Any] = {"text": None, "html": None} | {kind: "only this"}
    async with mailroom() as room:
        await send(f"smtp://127.0.0.1:{room.port}", **parts)

    message = room.mail[0][2]
    assert message.get_content_type() == type_
    assert message.get_content().strip() == "only this"


async def test_every_attempt_is_the_same_message() -> None:
    job_id = UUID(int=7)
    async with mailroom() as room:
        for attempt in (1, 2):
            context = RunContext(job_id=job_id, attempt=attempt)
            await send(f"smtp://127.0.0.1:{room.port}", context=context)

    assert len({message["Message-ID"] for _, _, message in room.mail}) == 1


async def test_address_that_is_named_twice_gets_it_once() -> None:
    async with mailroom() as room:
        result = await send(f"smtp://127.0.0.1:{room.port}", cc=["ada@example.com"])

    assert room.mail[0][1] == ["ada@example.com"] == result.accepted


async def test_recipient_that_is_refused_is_named_while_others_get_it() -> None:
    context = RunContext()
    async with mailroom() as room:
        room.refuse["bob@example.org"] = "550 no such user"
        result = await send(
            f"smtp://127.0.0.1:{room.port}",
            context=context,
            to=["ada@example.com", "bob@example.org"],
        )

    assert result.accepted == ["ada@example.com"]
    assert [(one.address, one.reason) for one in result.refused] == [
        ("bob@example.org", "550 no such user")
    ]
    assert context.logger.lines == [("warning", "email_partly_refused", {"refused": 1})]


@pytest.mark.parametrize(
    ("answer", "error"), [("550 no such user", Fail), ("450 greylisted, come again", Retry)]
)
async def test_all_recipients_refused(answer: str, error: type[Exception]) -> None:
    async with mailroom() as room:
        room.refuse["ada@example.com"] = answer
        with pytest.raises(error, match=f"all recipients: ada@example.com: {answer}"):
            await send(f"smtp://127.0.0.1:{room.port}")

    assert room.mail == []


@pytest.mark.parametrize(
    ("answer", "error"), [("554 spam", Fail), ("451 disk full", Retry), ("421 going away", Retry)]
)
async def test_answer_to_the_message_decides(answer: str, error: type[Exception]) -> None:
    async with mailroom() as room:
        room.answer_data = answer
        with pytest.raises(error, match=f"the mail server answered {answer}"):
            await send(f"smtp://127.0.0.1:{room.port}")


async def test_server_that_falls_silent_is_tried_again() -> None:
    async with mailroom() as room:
        room.silent = True
        with pytest.raises(Retry, match="cannot be reached: Timed out"):
            await send(f"smtp://127.0.0.1:{room.port}", step_s=0.2)


async def test_mail_that_was_taken_is_sent_whatever_becomes_of_the_good_bye() -> None:
    sent: list[Sent] = []
    async with mailroom() as room:
        room.lingers = True
        with anyio.move_on_after(0.5) as deadline:
            sent.append(await send(f"smtp://127.0.0.1:{room.port}"))

    assert deadline.cancel_called
    assert len(sent) == len(room.mail) == 1


async def test_server_that_is_not_there_is_tried_again() -> None:
    async with mailroom() as room:
        pass
    with pytest.raises(Retry, match="cannot be reached"):
        await send(f"smtp://127.0.0.1:{room.port}")


def _authenticate(
    _server: object, _session: object, _envelope: object, _how: str, data: Any
) -> Any:
    assert isinstance(data, LoginPassword)
    right = (data.login, data.password) == (b"shop", PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@pytest.mark.parametrize("right", [True, False])
async def test_password_opens_and_is_never_quoted(right: bool) -> None:  # noqa: FBT001 - a case
    password = "s3cret%2Fpass" if right else "s3cret-wrong"
    async with mailroom(
        authenticator=_authenticate, auth_required=True, auth_require_tls=False
    ) as room:
        url = f"smtp://shop:{password}@127.0.0.1:{room.port}?starttls=never"
        if right:
            await send(url)
        else:
            with pytest.raises(Fail, match=r"did not let us in \(535\)") as caught:
                await send(url)
            assert "s3cret" not in str(caught.value)

    assert len(room.mail) == int(right)


async def test_password_is_not_sent_in_the_clear_unless_told_so() -> None:
    async with mailroom(
        authenticator=_authenticate, auth_required=True, auth_require_tls=False
    ) as room:
        with pytest.raises(Fail, match="STARTTLS extension not supported"):
            await send(f"smtp://shop:s3cret%2Fpass@127.0.0.1:{room.port}")

    assert room.mail == []


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    trust.check_hostname = False  # the certificate is of another host
    return server, trust


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtp"])
async def test_starttls_is_used_where_it_is_offered(scheme: str) -> None:
    server, trust = _contexts()
    async with mailroom(tls_context=server, require_starttls=True) as room:
        await send(f"{scheme}://127.0.0.1:{room.port}", tls=trust)

    assert len(room.mail) == 1


async def test_server_that_is_not_trusted_gets_nothing() -> None:
    server, _ = _contexts()
    async with mailroom(tls_context=server) as room:
        with pytest.raises(Retry, match="certificate"):
            await send(f"smtp+starttls://127.0.0.1:{room.port}")

    assert room.mail == []


@pytest.mark.parametrize(
    ("url", "sender", "says"), [(None, FROM, "SMTP_URL"), ("smtp://localhost", None, "MAIL_FROM")]
)
async def test_what_is_not_configured_fails_clearly(
    url: str | None, sender: str | None, says: str
) -> None:
    job_type = email.build(
        observer=Witness(),
        server=read_server(url) if url else None,
        sender=read_mailbox(sender) if sender else None,
    )
    payload = msgspec.convert(BODY, SendEmail)

    with pytest.raises(Fail, match=f"{says} is not set in the worker's environment"):
        await cast("Any", job_type.run)(payload, RunContext())


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"to": []}, r"length >= 1 - at `\$.to`"),
        ({"to": "ada"}, "to: must be like"),
        ({"to": ["ada"]}, r"at `\$.to\[0\]`"),
        ({"to": ["ada@example.com", "bob@"]}, r"at `\$.to\[1\]`"),
        ({"to": "ada@example.com\nBcc: eve@example.com"}, "to: must be like"),
        ({"to": "ada@example.com\n"}, "to: must be like"),
        ({"to": "ada@example.com, bob@example.org"}, "to: must be like"),
        ({"to": "Ada\r\nBcc: <ada@example.com>"}, "to: must be like"),
        ({"to": "ädä@example.com"}, "to: must be like"),
        ({"to": "a" * 65 + "@example.com"}, "too long before or after"),
        ({"cc": "<a>"}, "cc: must be like"),
        ({"to": ["ada@example.com\n"]}, r"at `\$.to\[0\]`"),
        ({"reply_to": "a b@example.com"}, r"at `\$.reply_to`"),
        ({"subject": "Hi\r\nBcc: eve@example.com"}, r"at `\$.subject`"),
        ({"subject": "Hi\n"}, r"at `\$.subject`"),
        ({"subject": "=?utf-8?q?Hi=0ABcc:_eve@example.com?="}, "subject: .* an encoded word"),
        ({"to": "=?utf-8?q?a?=@example.com"}, "to: must not hold an encoded word"),
        ({"to": ["=?utf-8?q?a=0A?= <a@example.com>"]}, "to: must not hold an encoded word"),
        ({"reply_to": "=?utf-8?b?YQ==?= <a@example.com>"}, "reply_to: must not hold an encoded"),
        ({"subject": "x" * 501}, r"length <= 500 - at `\$.subject`"),
        ({"text": None}, "give text, html or both"),
        ({"to": [f"a{n}@example.com" for n in range(60)], "cc": ["b@example.com"] * 60}, "100"),
        ({"bcc": "eve@example.com"}, "unknown field `bcc`"),
    ],
)
def test_payload_that_could_not_be_sent_is_refused(payload: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(BODY | payload, SendEmail)


def test_reply_to_is_no_recipient() -> None:
    to = [f"a{n}@example.com" for n in range(100)]
    payload = msgspec.convert(BODY | {"to": to, "reply_to": "b@example.com"}, SendEmail)

    assert payload.reply_to == "b@example.com"


@pytest.mark.parametrize("subject", ["What =? that", "a =?utf-8?q?b", "really?="])
async def test_subject_that_only_looks_encoded_is_sent_as_it_stands(subject: str) -> None:
    async with mailroom() as room:
        await send(f"smtp://127.0.0.1:{room.port}", subject=subject)

    assert room.mail[0][2]["Subject"] == subject


async def test_message_that_cannot_be_written_fails() -> None:
    payload = msgspec.convert(BODY, SendEmail)
    msgspec.structs.force_setattr(payload, "subject", "Hi\nBcc: eve@example.com")
    job_type = email.build(
        observer=Witness(), server=read_server("smtp://127.0.0.1:1"), sender=read_mailbox(FROM)
    )

    with pytest.raises(Fail, match="the message cannot be written"):
        await cast("Any", job_type.run)(payload, RunContext())


async def test_a_conversation_with_the_mail_server_is_a_span() -> None:
    witness = Witness()
    async with mailroom() as room:
        await send(f"smtp://127.0.0.1:{room.port}", witness=witness)

    (span,) = witness.spans
    assert (span.name, span.kind, span.failure) == ("mail", "client", None)
    assert span.attributes == {"server.address": "127.0.0.1", "server.port": room.port}
