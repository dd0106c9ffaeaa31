"""What `send_message` hands to the receiver, and what each answer makes of the job."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from contexts import RunContext, Witness
from receiver import Answer, Receiver, hang, receiver, redirect, reply, reset
from signalstack.core.errors import SettingsError, UnavailableError
from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.message import MessageRequest
from signalstack.core.stage import MessageTried
from signalstack.handlers import message
from signalstack.handlers.message import Sent
from signalstack.handlers.outbound import open_outbound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MESSAGE = MessageRequest(phone_number="+905551111111", content="Merhaba 👋")


class Sender:
    """A receiver on loopback, and the job type that hands messages to it."""

    def __init__(self, here: Receiver, run: Any, witness: Witness, held: list[float]) -> None:
        self.here = here
        self.witness = witness
        self.held = held
        self._run = run

    async def send(self, context: RunContext | None = None) -> Sent:
        return await self._run(MESSAGE, context or RunContext())

    @property
    def outcomes(self) -> list[str]:
        return [fact.outcome for fact in self.witness.facts if isinstance(fact, MessageTried)]


@asynccontextmanager
async def sender(
    *answers: Answer, key: str | None = "s3cret", timeout_s: float = 5, refuses: bool = False
) -> AsyncGenerator[Sender]:
    witness, held = Witness(), list[float]()

    async def hold(hold_s: float) -> None:
        held.append(hold_s)
        if refuses:
            raise UnavailableError("PostgreSQL is away")

    async with (
        receiver(*answers) as here,
        open_outbound(timeout_s=timeout_s, allow_private=True) as outbound,
    ):
        job_type = message.build(
            outbound=outbound, observer=witness, hold=hold, url=here.url, key=key, char_limit=160
        )
        yield Sender(here, job_type.run, witness, held)


def said(body: object, status: int = 202, **headers: str) -> Answer:
    return reply(status, body=msgspec.json.encode(body), headers=headers)


async def test_the_receiver_is_told_whom_what_and_which_message() -> None:
    context = RunContext()
    async with sender(said({"message": "Accepted", "messageId": "67f2f8a8"})) as s:
        sent = await s.send(context)
        (request,) = s.here.requests

    assert sent == Sent(webhook_message_id="67f2f8a8", http_status=202)
    assert msgspec.json.decode(request.body) == {"to": "+905551111111", "content": "Merhaba 👋"}
    assert request.headers["x-auth-key"] == "s3cret"
    assert request.headers["idempotency-key"] == str(context.job_id)
    assert request.headers["traceparent"] == s.witness.spans[0].traceparent
    assert s.outcomes == ["sent"]


@pytest.mark.parametrize(
    ("body", "name"), [({"message_id": "m-1"}, "m-1"), ({"messageId": 42, "message_id": ""}, "42")]
)
async def test_an_id_may_be_named_either_way_and_be_a_number(body: object, name: str) -> None:
    async with sender(said(body, 200), key=None) as s:
        sent = await s.send()
        (request,) = s.here.requests

    assert sent.webhook_message_id == name
    assert "x-auth-key" not in request.headers


@pytest.mark.parametrize(
    ("answer", "code", "again"),
    [
        (hang, "timeout", True),
        (reply(408), "timeout", True),
        (reset, "connection", True),
        (reply(429), "rate_limited", True),
        (reply(400), "rejected", False),
        (reply(401), "rejected", False),
        (reply(410), "rejected", False),
        (redirect("/elsewhere"), "rejected", False),
        (reply(500), "invalid_response", True),
        (reply(503), "invalid_response", True),
        (reply(204), "invalid_response", True),
        (reply(200, body=b"<html>"), "invalid_response", True),
        (said({"messageId": None}), "invalid_response", True),
        (said({"messageId": "x" * 201}), "invalid_response", True),
        (said({"messageId": "\u0000"}), "invalid_response", True),
        (said(["messageId"]), "invalid_response", True),
    ],
)
async def test_each_trouble_has_its_code(answer: Answer, code: str, *, again: bool) -> None:
    async with sender(answer, timeout_s=0.3) as s:
        with pytest.raises(Retry if again else Fail) as caught:
            await s.send()

    assert caught.value.reason.startswith(f"{code}: ")
    assert s.outcomes == [code]
    assert s.witness.spans[0].failure


@pytest.mark.parametrize(
    ("status", "kind", "code"), [(429, Postpone, "rate_limited"), (503, Retry, "invalid_response")]
)
@pytest.mark.parametrize("refuses", [False, True])
async def test_a_receiver_that_asks_for_time_gets_it(
    status: int, kind: type[Postpone | Retry], code: str, *, refuses: bool
) -> None:
    async with sender(reply(status, headers={"retry-after": "17"}), refuses=refuses) as s:
        with pytest.raises(kind) as caught:
            await s.send()

    assert caught.value.after_s == 17
    assert str(caught.value).startswith(f"{code}: ")
    assert s.held == [17]


async def test_without_a_receiver_the_job_fails_and_says_so() -> None:
    async with open_outbound(timeout_s=1, allow_private=True) as outbound:
        job_type = message.build(
            outbound=outbound, observer=Witness(), hold=_hold, url=None, key=None, char_limit=160
        )
        with pytest.raises(Fail, match="WEBHOOK_URL is not set"):
            await job_type.run(MESSAGE, RunContext())  # type: ignore[misc] - it is async


@pytest.mark.parametrize(
    ("url", "key"), [("ftp://receiver.example", None), ("https://receiver.example", "two words")]
)
async def test_settings_that_cannot_be_used_are_refused(url: str, key: str | None) -> None:
    async with open_outbound(timeout_s=1, allow_private=True) as outbound:
        with pytest.raises(SettingsError, match="WEBHOOK_"):
            message.build(
                outbound=outbound,
                observer=Witness(),
                hold=_hold,
                url=url,
                key=key,
                char_limit=160,
            )


async def _hold(_hold_s: float) -> None:
    """Never called: there is nobody to ask for it."""
