"""What `process_payment` asks of the gateway, and what each answer makes of the job."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from contexts import RunContext, Witness
from receiver import Answer, Receiver, broken_off, hang, huge, receiver, redirect, reply, reset
from signalstack.core.errors import SettingsError
from signalstack.core.handler import Fail, Retry
from signalstack.handlers import payment
from signalstack.handlers.outbound import open_outbound
from signalstack.handlers.payment import Charge, ProcessPayment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEY = "gw-s3cret"
PAYMENT = {"amount": 1999, "currency": "EUR", "customer": "c-7", "reference": "order 12"}


class Gateway:
    """A payment gateway on loopback, and the job type that asks it."""

    def __init__(self, here: Receiver, run: Any, witness: Witness) -> None:
        self.here = here
        self.run = run
        self.witness = witness

    async def charge(self, context: RunContext | None = None, **payload: Any) -> Charge:
        decoded = msgspec.convert(PAYMENT | payload, ProcessPayment)
        result = await self.run(decoded, context or RunContext())
        return msgspec.json.decode(msgspec.json.encode(result), type=Charge)


@asynccontextmanager
async def gateway(
    *answers: Answer, key: str | None = KEY, timeout_s: float = 5
) -> AsyncGenerator[Gateway]:
    async with (
        receiver(*answers) as here,
        open_outbound(timeout_s=timeout_s, allow_private=True) as outbound,
    ):
        witness = Witness()
        job_type = payment.build(outbound=outbound, observer=witness, url=here.url, key=key)
        yield Gateway(here, job_type.run, witness)


def said(status: int, body: object, **headers: str) -> Answer:
    return reply(status, body=msgspec.json.encode(body), headers=headers)


async def test_gateway_is_asked_with_the_jobs_id_as_key() -> None:
    context = RunContext()
    async with gateway(said(201, {"id": "pay_1", "status": "captured", "card": "4111"})) as g:
        result = await g.charge(context, description="Boots", metadata={"cart": "9"})

        (sent,) = g.here.requests
    assert sent.method == "POST"
    assert sent.headers["idempotency-key"] == str(context.job_id)
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["traceparent"] == g.witness.spans[0].traceparent
    assert msgspec.json.decode(sent.body) == {
        **PAYMENT,
        "description": "Boots",
        "metadata": {"cart": "9"},
    }
    assert result == Charge(
        id="pay_1",
        status="captured",
        http_status=201,
        amount=1999,
        currency="EUR",
        reference="order 12",
    )


async def test_second_attempt_has_the_same_key() -> None:
    context = RunContext()
    async with gateway(reset, said(200, {"id": 7})) as g:
        with pytest.raises(Retry):
            await g.charge(context)
        result = await g.charge(context)

    assert result.id == "7"
    assert len({sent.headers["idempotency-key"] for sent in g.here.requests}) == 1


async def test_what_was_not_given_is_not_sent() -> None:
    async with gateway(reply(204), key=None) as g:
        result = await g.charge()

    assert msgspec.json.decode(g.here.requests[0].body) == PAYMENT
    assert "authorization" not in g.here.requests[0].headers
    assert (result.id, result.status, result.http_status) == (None, None, 204)


@pytest.mark.parametrize("body", [b"[1]", b"thanks", b"\xff", b"[" * 60_000, b'{"id": {}}'])
async def test_answer_that_is_no_object_is_a_charge_all_the_same(body: bytes) -> None:
    async with gateway(reply(200, body=body)) as g:
        assert (await g.charge()).id is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (said(402, {"error": {"message": "card declined"}}), "402 Payment Required: card declined"),
        (said(422, {"detail": "no such\ncurrency"}), "422 .*: no such currency"),
        (said(400, {"error": "bad"}), "400 Bad Request: bad"),
        (said(403, ["no"]), "403 Forbidden$"),
        (said(404, {"message": "x" * 5_000}), "404 Not Found: x{300}$"),
        (redirect("https://elsewhere.example/"), "302 Found: redirects are not followed"),
    ],
)
async def test_refusal_is_final_and_names_the_gateways_reason(answer: Answer, says: str) -> None:
    async with gateway(answer) as g:
        with pytest.raises(Fail, match=f"the payment gateway answered {says}"):
            await g.charge()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
async def test_passing_answer_is_tried_again_when_it_says(status: int) -> None:
    async with gateway(said(status, {"message": "later"}, **{"retry-after": "17"})) as g:
        with pytest.raises(Retry, match=f"{status} .*: later") as caught:
            await g.charge()

    assert caught.value.after_s == 17


@pytest.mark.parametrize("answer", [hang, reset])
async def test_no_answer_is_tried_again(answer: Answer) -> None:
    async with gateway(answer, timeout_s=0.3) as g:
        with pytest.raises(Retry, match="the payment gateway cannot be reached"):
            await g.charge()


async def test_charge_whose_answer_broke_off_is_asked_for_again() -> None:
    async with gateway(broken_off(body=b'{"id": "ch_')) as g:
        with pytest.raises(Retry, match="the payment gateway's answer broke off"):
            await g.charge()


async def test_endless_answer_is_cut() -> None:
    async with gateway(huge(1_000_000, 402)) as g:
        with pytest.raises(Fail, match=r"402 Payment Required$"):
            await g.charge()


async def test_reasons_never_show_the_key() -> None:
    for answer in (reply(401), reply(500), reset):
        async with gateway(answer) as g:
            with pytest.raises((Fail, Retry)) as caught:
                await g.charge()
        assert KEY not in str(caught.value)


async def test_gateway_that_is_not_configured_fails_clearly() -> None:
    async with open_outbound(timeout_s=1) as outbound:
        run = cast(
            "Any", payment.build(outbound=outbound, observer=Witness(), url=None, key=None).run
        )
        with pytest.raises(Fail, match="PAYMENT_GATEWAY_URL is not set"):
            await run(msgspec.convert(PAYMENT, ProcessPayment), RunContext())


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("https://u:p4ss@gate.example/", None, "PAYMENT_GATEWAY_URL cannot be used"),
        ("https://gate.example/", "s3cret\n", "PAYMENT_GATEWAY_KEY must be visible"),
    ],
)
async def test_settings_that_cannot_be_used_are_refused_at_the_start(
    url: str, key: str | None, says: str
) -> None:
    async with open_outbound(timeout_s=1, allow_private=True) as outbound:
        with pytest.raises(SettingsError, match=says) as caught:
            payment.build(outbound=outbound, observer=Witness(), url=url, key=key)

    assert "p4ss" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"amount": 0}, r">= 1 - at `\$.amount`"),
        ({"amount": 19.99}, r"Expected `int`, got `float` - at `\$.amount`"),
        ({"amount": "1999"}, r"at `\$.amount`"),
        ({"amount": True}, r"at `\$.amount`"),
        ({"amount": 10**12 + 1}, r"at `\$.amount`"),
        ({"currency": "eur"}, r"at `\$.currency`"),
        ({"currency": "EUR\n"}, r"at `\$.currency`"),
        ({"customer": ""}, r"at `\$.customer`"),
        ({"reference": "a\nb"}, r"at `\$.reference`"),
        ({"card": "4111111111111111"}, "unknown field `card`"),
        ({"metadata": {str(n): "x" for n in range(51)}}, r"at `\$.metadata`"),
    ],
)
def test_payment_that_makes_no_sense_is_refused(payload: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(PAYMENT | payload, ProcessPayment)


@pytest.mark.parametrize(
    ("status", "more", "failure"),
    [
        (201, {}, None),
        (402, {"error.type": "402"}, "answered 402"),
        (503, {"error.type": "503"}, "answered 503"),
    ],
)
async def test_a_charge_is_a_span_of_its_own_that_the_gateway_continues(
    status: int, more: dict[str, str], failure: str | None
) -> None:
    async with gateway(said(status, {"id": "pay_1"})) as g:
        with suppress(Retry, Fail):
            await g.charge(RunContext())

        (sent,) = g.here.requests
    (span,) = g.witness.spans
    assert (span.name, span.kind, span.failure) == ("charge", "client", failure)
    assert span.attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(g.here.url.split(":")[2].partition("/")[0]),
        "url.scheme": "http",
        "http.response.status_code": status,
        **more,
    }
    assert sent.headers["traceparent"] == span.traceparent
