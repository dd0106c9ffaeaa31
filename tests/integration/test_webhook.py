"""What `send_webhook` sends, and what each kind of answer makes of the job."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from standardwebhooks import Webhook

from contexts import TRACEPARENT, RunContext, SeenSpan, Witness
from receiver import Answer, drip, hang, huge, receiver, redirect, reply, reset
from signalstack.core.endpoint import DeliveryEndpoint
from signalstack.core.errors import InvalidError, UnavailableError
from signalstack.core.fit import fit
from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.signature import new_secret
from signalstack.core.stage import PutOff
from signalstack.handlers import webhook
from signalstack.handlers.addressee import Endpoints
from signalstack.handlers.outbound import open_outbound
from signalstack.handlers.webhook import Delivery, SendWebhook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from signalstack.core.stage import Delivered
    from signalstack.handlers.pinned import Resolve


class Bench:
    """A send_webhook job type with endpoints in memory and all that happened to them."""

    def __init__(self) -> None:
        self.endpoints: dict[tuple[UUID, UUID], DeliveryEndpoint] = {}
        self.disabled: list[tuple[UUID, UUID, str]] = []
        self.failures: list[tuple[UUID, str]] = []
        self.recovered: list[UUID] = []
        self.holds: list[tuple[UUID, float]] = []
        self.turns: list[float] = []
        self.asked: list[bool] = []
        self.away = False
        self.lost: set[str] = set()
        self.witness = Witness()
        self.run: Any = None

    def add(self, user_id: UUID, url: str, **fields: Any) -> UUID:
        given: dict[str, Any] = {"headers": {}, "active": True, "secrets": [new_secret()]}
        endpoint = DeliveryEndpoint(id=uuid4(), url=url, **(given | fields))
        self.endpoints[user_id, endpoint.id] = endpoint
        return endpoint.id

    async def find(self, user_id: UUID, endpoint_id: UUID) -> DeliveryEndpoint | None:
        self._reach("find")
        return self.endpoints.get((user_id, endpoint_id))

    async def take(self, _user_id: UUID, _endpoint_id: UUID, *, again: bool) -> float:
        self._reach("take")
        self.asked.append(again)
        return self.turns.pop(0) if self.turns else 0.0

    async def hold(self, _user_id: UUID, endpoint_id: UUID, _url: str, hold_s: float) -> None:
        self.holds.append((endpoint_id, hold_s))

    async def disable(self, user_id: UUID, endpoint_id: UUID, _url: str, reason: str) -> None:
        self.disabled.append((user_id, endpoint_id, reason))

    async def fail(self, _user_id: UUID, endpoint_id: UUID, _url: str, reason: str) -> bool:
        if self.away:
            raise UnavailableError("PostgreSQL cannot be reached")
        self.failures.append((endpoint_id, reason))
        return len(self.failures) > 1

    async def recover(self, _user_id: UUID, endpoint_id: UUID) -> None:
        if self.away:
            raise UnavailableError("PostgreSQL cannot be reached")
        self.recovered.append(endpoint_id)

    async def deliver(self, context: RunContext | None = None, **payload: Any) -> Delivery:
        """Run a job as a worker would: from the payload's JSON to the result's."""
        decoded = msgspec.json.decode(msgspec.json.encode(payload), type=SendWebhook)
        result = await self.run(decoded, context or RunContext())
        return msgspec.json.decode(msgspec.json.encode(result), type=Delivery)

    def _reach(self, what: str) -> None:
        if what in self.lost:
            raise UnavailableError("PostgreSQL cannot be reached")

    @property
    def outcomes(self) -> list[str]:
        return [cast("Delivered", fact).outcome for fact in self.witness.facts]

    @property
    def span(self) -> SeenSpan:
        (span,) = self.witness.spans
        return span


@asynccontextmanager
async def bench(
    *, timeout_s: float = 5, allow_private: bool = True, resolve: Resolve | None = None
) -> AsyncGenerator[Bench]:
    made = Bench()
    async with open_outbound(
        timeout_s=timeout_s, allow_private=allow_private, resolve=resolve
    ) as outbound:
        made.run = webhook.build(
            outbound=outbound,
            observer=made.witness,
            endpoints=Endpoints(
                find=made.find,
                take=made.take,
                hold=made.hold,
                disable=made.disable,
                failed=made.fail,
                recovered=made.recover,
            ),
        ).run
        yield made


async def test_delivery_is_signed_as_standard_webhooks_verifies_it() -> None:
    context = RunContext(attempt=2)
    current, previous = new_secret(), new_secret()
    body = {"order": 7, "note": "größer & 'quoted'", "rows": [1.5, None, True]}
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url, secrets=[current, previous])

        await b.deliver(context, endpoint_id=endpoint_id, body=body)

        (sent,) = r.requests
    assert sent.method == "POST"
    for secret in (current, previous):
        assert Webhook(secret).verify(sent.body, sent.headers) == body
    assert len(sent.headers["webhook-signature"].split(" ")) == 2
    assert sent.headers["webhook-id"] == str(context.job_id)
    assert sent.headers["webhook-attempt"] == "2"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"].startswith("SignalStack/")


async def test_webhook_id_stays_the_same_in_every_attempt() -> None:
    first = RunContext()
    second = RunContext(job_id=first.job_id, attempt=2)
    async with receiver() as r, bench() as b:
        await b.deliver(first, url=r.url, body=1)
        await b.deliver(second, url=r.url, body=1)

    assert {sent.headers["webhook-id"] for sent in r.requests} == {str(first.job_id)}


async def test_delivery_to_a_bare_url_is_not_signed() -> None:
    async with receiver() as r, bench() as b:
        await b.deliver(url=r.url, body=None)

    assert r.requests[0].body == b"null"
    assert "webhook-signature" not in r.requests[0].headers
    assert "webhook-timestamp" in r.requests[0].headers


async def test_trace_of_the_delivery_is_handed_on() -> None:
    async with receiver() as r, bench() as b:
        await b.deliver(url=r.url, body=1)

        assert r.requests[0].headers["traceparent"] == b.span.traceparent
    assert b.span.traceparent != TRACEPARENT
    assert (b.span.name, b.span.kind) == ("deliver", "client")
    assert b.span.attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": r.port,
        "url.scheme": "http",
        "http.response.status_code": 204,
    }


async def test_headers_of_the_job_win_over_the_endpoints() -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url, headers={"X-One": "e", "x-two": "e"})

        await b.deliver(context, endpoint_id=endpoint_id, body=1, headers={"x-one": "j"})

    assert r.requests[0].headers["x-one"] == "j"
    assert r.requests[0].headers["x-two"] == "e"


async def test_result_has_status_duration_and_what_was_said() -> None:
    async with receiver(reply(202, body=b"taken")) as r, bench() as b:
        result = await b.deliver(url=r.url, body=1)

    assert (result.status, result.body) == (202, "taken")
    assert 0 < result.duration_ms < 5_000
    assert b.outcomes == ["delivered"]


async def test_result_of_a_huge_reply_is_its_first_kib() -> None:
    async with receiver(huge(5_000_000)) as r, bench() as b:
        result = await b.deliver(url=r.url, body=1)

    assert result.body == "x" * 1_024


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_succeeds(status: int) -> None:
    async with receiver(reply(status)) as r, bench() as b:
        assert (await b.deliver(url=r.url, body=1)).status == status


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (300, "300 Multiple Choices: redirects are not followed"),
        (304, "304 Not Modified"),
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (404, "404 Not Found"),
        (422, "422 Unprocessable"),
        (499, "499"),
    ],
)
async def test_final_status_fails_the_job(status: int, says: str) -> None:
    async with receiver(reply(status, body=b"secret of the receiver")) as r, bench() as b:
        with pytest.raises(Fail) as caught:
            await b.deliver(url=r.url, body=1)

    assert says in caught.value.reason
    assert "secret" not in caught.value.reason
    assert b.outcomes == ["rejected"]
    assert b.span.failure == caught.value.reason


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
async def test_passing_status_is_tried_again(status: int) -> None:
    async with receiver(reply(status)) as r, bench() as b:
        with pytest.raises(Retry, match=str(status)) as caught:
            await b.deliver(url=r.url, body=1)

    assert caught.value.after_s is None
    assert b.outcomes == ["failed"]


async def test_retry_after_in_seconds_is_honoured() -> None:
    async with receiver(reply(503, headers={"Retry-After": "17"})) as r, bench() as b:
        with pytest.raises(Retry) as caught:
            await b.deliver(url=r.url, body=1)

    assert caught.value.after_s == 17


async def test_retry_after_as_a_date_is_honoured() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    async with receiver(reply(429, headers={"retry-after": date})) as r, bench() as b:
        with pytest.raises(Retry) as caught:
            await b.deliver(url=r.url, body=1)

    assert caught.value.after_s == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    ("status", "said", "holds"),
    [(429, "30", [30.0]), (503, "30", [30.0]), (500, "30", []), (429, "86400", [3_600.0])],
)
async def test_retry_after_of_a_receiver_as_a_whole_holds_its_endpoint_back(
    status: int, said: str, holds: list[float]
) -> None:
    context = RunContext()
    async with receiver(reply(status, headers={"retry-after": said})) as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url)
        with pytest.raises(Retry):
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    assert b.holds == [(endpoint_id, hold_s) for hold_s in holds]


async def test_busy_receiver_that_names_no_time_holds_nothing_back() -> None:
    context = RunContext()
    async with receiver(reply(429)) as r, bench() as b:
        with pytest.raises(Retry):
            await b.deliver(context, endpoint_id=b.add(context.user_id, r.url), body=1)

    assert b.holds == []


async def test_delivery_whose_turn_has_not_come_is_put_off_unsent() -> None:
    first = RunContext()
    second = RunContext(user_id=first.user_id, postponed_since=datetime.now(UTC))
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(first.user_id, r.url, paced=True)
        b.turns = [2.5]
        with pytest.raises(Postpone, match="Retry-After") as caught:
            await b.deliver(first, endpoint_id=endpoint_id, body=1)
        assert r.requests == []
        await b.deliver(second, endpoint_id=endpoint_id, body=1)

    assert caught.value.after_s == 2.5
    assert b.asked == [False, True]
    assert b.witness.facts[0] == PutOff(job=first.job_id, wait_s=2.5)
    assert len(r.requests) == 1


@pytest.mark.parametrize("lost", ["find", "take"])
async def test_delivery_whose_endpoint_cannot_be_read_is_put_off_unsent(lost: str) -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        b.lost = {lost}
        with pytest.raises(Postpone, match="PostgreSQL cannot be reached") as caught:
            await b.deliver(context, endpoint_id=b.add(context.user_id, r.url, paced=True), body=1)

    assert caught.value.after_s == 1
    assert r.requests == []


async def test_endpoint_without_a_pace_is_not_asked_for_a_turn() -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        await b.deliver(context, endpoint_id=b.add(context.user_id, r.url), body=1)

    assert b.asked == []


async def test_redirect_is_not_followed_and_fails_the_job() -> None:
    async with receiver() as other, receiver(redirect(other.url, 307)) as r, bench() as b:
        with pytest.raises(Fail, match="307 Temporary Redirect: redirects are not followed"):
            await b.deliver(url=r.url, body=1)

    assert other.requests == []


async def test_410_disables_the_endpoint_and_fails_the_job() -> None:
    context = RunContext()
    async with receiver(reply(410)) as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url)
        with pytest.raises(Fail, match="410 Gone"):
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    reason = f"410 Gone in answer to job {context.job_id}"
    assert b.disabled == [(context.user_id, endpoint_id, reason)]
    assert b.outcomes == ["gone"]


async def test_410_of_a_bare_url_fails_the_job_alone() -> None:
    async with receiver(reply(410)) as r, bench() as b:
        with pytest.raises(Fail, match="410 Gone"):
            await b.deliver(url=r.url, body=1)

    assert b.disabled == []


@pytest.mark.parametrize("answer", [reply(503), reply(404), reset])
async def test_failed_delivery_is_noted_with_its_endpoint(answer: Answer) -> None:
    context = RunContext()
    async with receiver(answer, answer) as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url)
        reasons: list[str] = []
        for _ in range(2):
            with pytest.raises((Fail, Retry)) as caught:
                await b.deliver(context, endpoint_id=endpoint_id, body=1)
            reasons.append(str(caught.value))

    assert b.failures == [(endpoint_id, reason) for reason in reasons]
    assert context.logger.lines == [
        ("warning", "endpoint_disabled", {"endpoint_id": str(endpoint_id)})
    ]


async def test_delivery_that_works_is_noted_only_after_failures() -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        healthy = b.add(context.user_id, r.url)
        ailing = b.add(context.user_id, r.url, failing=True)
        await b.deliver(context, endpoint_id=healthy, body=1)
        await b.deliver(context, endpoint_id=ailing, body=1)
        await b.deliver(context, url=r.url, body=1)

    assert b.recovered == [ailing]
    assert b.failures == []


async def test_note_that_cannot_be_kept_changes_nothing_for_the_job() -> None:
    context = RunContext()
    async with receiver(reply(204), reply(503)) as r, bench() as b:
        b.away = True
        endpoint_id = b.add(context.user_id, r.url, failing=True)

        assert (await b.deliver(context, endpoint_id=endpoint_id, body=1)).status == 204
        with pytest.raises(Retry, match="503"):
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    assert [event for _, event, _ in context.logger.lines] == ["endpoint_not_noted"] * 2


@pytest.mark.parametrize("answer", [hang, drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000)])
async def test_no_answer_in_time_is_tried_again(answer: Answer) -> None:
    async with receiver(answer) as r, bench(timeout_s=0.3) as b:
        with pytest.raises(Retry, match="no answer within"):
            await b.deliver(url=r.url, body=1)

    assert b.outcomes == ["timeout"]


async def test_broken_connection_is_tried_again() -> None:
    async with receiver(reset) as r, bench() as b:
        with pytest.raises(Retry, match="Connection reset by peer"):
            await b.deliver(url=r.url, body=1)

    assert b.outcomes == ["failed"]


async def test_private_address_is_blocked_and_named() -> None:
    async with receiver() as r, bench(allow_private=False) as b:
        with pytest.raises(Fail, match=r"127\.0\.0\.1 is loopback"):
            await b.deliver(url=r.url, body=1)

    assert r.connections == 0
    assert b.outcomes == ["blocked"]


async def test_name_that_resolves_to_a_private_address_is_blocked_and_named() -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with receiver() as r, bench(allow_private=False, resolve=lookup) as b:
        with pytest.raises(Fail, match=r"hooks\.example\.com: 127\.0\.0\.1 is loopback"):
            await b.deliver(url=f"http://hooks.example.com:{r.port}/", body=1)

    assert r.connections == 0
    assert b.outcomes == ["blocked"]


async def test_endpoint_of_another_tenant_is_unknown() -> None:
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(uuid4(), r.url)
        with pytest.raises(Fail, match=f"there is no endpoint {endpoint_id}"):
            await b.deliver(endpoint_id=endpoint_id, body=1)

    assert r.requests == []


@pytest.mark.parametrize(
    ("why", "says"), [(None, "is not active: switched off"), ("410 Gone", "active: 410 Gone")]
)
async def test_inactive_endpoint_fails_the_job_with_the_reason(why: str | None, says: str) -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url, active=False, disabled_reason=why)
        with pytest.raises(Fail, match=says):
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    assert r.requests == []


@pytest.mark.parametrize("status", [302, 404, 410, 503])
async def test_reason_shows_neither_query_nor_path_nor_secret(status: int) -> None:
    context = RunContext()
    secret = new_secret()
    async with receiver(reply(status)) as r, bench() as b:
        endpoint_id = b.add(
            context.user_id,
            f"{r.url}/T0KEN?key=T0KEN",
            secrets=[secret],
            headers={"authorization": "T0KEN"},
        )
        with pytest.raises((Fail, Retry)) as caught:
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    assert "T0KEN" not in str(caught.value)
    assert secret not in str(caught.value)


async def test_reserved_header_in_the_endpoints_row_fails_the_job() -> None:
    context = RunContext()
    async with receiver() as r, bench() as b:
        endpoint_id = b.add(context.user_id, r.url, headers={"Webhook-Id": "forged"})
        with pytest.raises(Fail, match="a header is refused: the header Webhook-Id"):
            await b.deliver(context, endpoint_id=endpoint_id, body=1)

    assert r.requests == []


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"body": 1}, "give either endpoint_id or url"),
        ({"body": 1, "url": "https://a.example/", "endpoint_id": str(uuid4())}, "give either"),
        ({"url": "https://a.example/"}, "missing required field `body`"),
        ({"body": 1, "url": "https://a.example/", "uri": 1}, "unknown field `uri`"),
        ({"body": 1, "endpoint_id": "7"}, "Invalid UUID"),
        ({"body": 1, "url": "https://u:p@a.example/"}, "user name or password"),
        ({"body": 1, "url": "ftp://a.example/"}, "must begin with https:// or http://"),
        ({"body": 1, "url": ""}, "length >= 1"),
    ],
)
def test_payload_that_could_not_be_sent_is_refused(payload: object, says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.json.decode(msgspec.json.encode(payload), type=SendWebhook)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Host": "a"}, "Host is set by SignalStack or belongs to the connection"),
        ({"content-length": "1"}, "content-length is set"),
        ({"Transfer-Encoding": "chunked"}, "Transfer-Encoding is set"),
        ({"connection": "close"}, "connection is set"),
        ({"Proxy-Authorization": "x"}, "Proxy-Authorization is set"),
        ({"Webhook-Signature": "v1,x"}, "Webhook-Signature is set"),
        ({"traceparent": TRACEPARENT}, "traceparent is set"),
        ({"x-a": "1\r\nwebhook-id: 2"}, "characters other than visible ASCII"),
        ({"x-a": "größer"}, "characters other than visible ASCII"),
        ({"x-a": " padded "}, "characters other than visible ASCII"),
        ({"x-a": "v" * 5_000}, "longer than 4,096"),
        ({"x a": "1"}, "'x a' is no header name"),
        ({"": "1"}, "'' is no header name"),
        ({"x-a": "1", "X-A": "2"}, "named twice"),
        ({f"x-{n}": "1" for n in range(33)}, "at most 32 headers"),
    ],
)
def test_header_that_is_not_the_callers_to_set_is_refused(
    headers: dict[str, str], says: str
) -> None:
    payload = {"body": 1, "url": "https://a.example/", "headers": headers}
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.json.decode(msgspec.json.encode(payload), type=SendWebhook)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"url": "https://a.example/", "headers": {"host": "a"}}, "/payload/headers"),
        ({"url": "https://a.example/", "headers": {"x a": "1"}}, "/payload/headers"),
        ({"url": "ftp://a.example/"}, "/payload/url"),
    ],
)
def test_a_wrong_header_or_url_is_pointed_at(given: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidError) as refused:
        fit({"body": 1, **given}, SendWebhook, "/payload")

    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_endpoint_is_shown_without_its_secrets() -> None:
    secret = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
    endpoint = DeliveryEndpoint(
        id=uuid4(),
        url="https://a.example/T0KEN",
        headers={"authorization": "T0KEN"},
        active=True,
        secrets=[secret],
    )

    assert "T0KEN" not in repr(endpoint)
    assert secret not in repr(endpoint)
