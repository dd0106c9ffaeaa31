"""The client's rules that need no server: pauses between tries, and webhooks verified."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx2
import pytest

from signalstack.client import AsyncClient, Client, WebhookError, verify_webhook
from signalstack.client.answers import Job
from signalstack.client.call import MAX_PAUSE_S, Call
from signalstack.core.signature import new_secret, sign

GET = Call(method="GET", path="/jobs/1", into=Job)


def busy(retry_after: str) -> httpx2.Response:
    return httpx2.Response(503, headers={"retry-after": retry_after})


def signed(secret: str, body: bytes, *, age_s: int = 0) -> dict[str, str]:
    timestamp = int(datetime.now(UTC).timestamp()) - age_s
    return {
        "Webhook-Id": "m-1",
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": sign([secret], id="m-1", timestamp=timestamp, body=body),
    }


def test_pauses_double_and_are_spread() -> None:
    outcome = httpx2.ReadError("broken off")

    assert [GET.pause_s(outcome, tried, 1.0) for tried in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert GET.pause_s(outcome, 1, 0.0) == 0.1
    assert GET.pause_s(outcome, 60, 1.0) == MAX_PAUSE_S


@pytest.mark.parametrize(
    ("retry_after", "least"), [("2", 2.1), ("", 0.1), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.1)]
)
def test_a_pause_is_as_long_as_was_asked_for(retry_after: str, least: float) -> None:
    assert GET.pause_s(busy(retry_after), 1, 0.0) == least


def test_only_the_answer_is_waited_for_longer() -> None:
    waiting = Call(method="GET", path="/jobs/1", into=Job, wait_s=30)

    timeout = waiting.arguments(5.0)["timeout"]

    assert timeout == httpx2.Timeout(connect=5.0, read=35.0, write=5.0, pool=5.0)


@pytest.mark.parametrize("status", [200, 400, 404, 409, 422, 500])
def test_what_will_not_pass_is_final(status: int) -> None:
    assert GET.pause_s(httpx2.Response(status), 1, 0.0) is None


def test_a_signed_webhook_is_decoded() -> None:
    old, new = new_secret(), new_secret()

    assert verify_webhook(new, signed(new, b'{"a": 1}'), b'{"a": 1}') == {"a": 1}
    assert verify_webhook([new, old], signed(old, b"[]"), b"[]") == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (signed(new_secret(), b"{}"), b"{}"),
        ({}, b"{}"),
    ],
)
def test_a_webhook_of_somebody_else_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(WebhookError):
        verify_webhook(new_secret(), headers, body)


def test_a_changed_old_or_broken_webhook_is_refused() -> None:
    secret = new_secret()

    with pytest.raises(WebhookError, match="signature"):
        verify_webhook(secret, signed(secret, b"{}"), b"{ }")
    with pytest.raises(WebhookError, match="timestamp"):
        verify_webhook(secret, signed(secret, b"{}", age_s=600), b"{}")
    with pytest.raises(WebhookError, match="no JSON"):
        verify_webhook(secret, signed(secret, b"{"), b"{")


@pytest.mark.parametrize("headers", [{}, signed(new_secret(), b"{}")])
@pytest.mark.parametrize("secret", ["nope", "", [], [new_secret(), "nope"]])
def test_an_unusable_secret_is_no_forged_webhook(
    secret: str | list[str], headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="signing secret"):
        verify_webhook(secret, headers, b"{}")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "127.0.0.1:80",
        "localhost:8080",
        "//api.test",
        "ftp://api.test",
        "http://",
        "http://:80",
        "http://[",
        "http://api.test:x",
        "http://api.test:65536",
        " http://api.test",
        "http://api.test ",
        "http://api.test\n",
        "http://api.test?a=1",
        "http://api.test#a",
        "http://user:hunter2@api.test",
    ],
)
def test_a_client_of_no_address_is_not_made(
    kind: type[Client | AsyncClient], base_url: str
) -> None:
    with pytest.raises(ValueError, match=r"^base_url must be .*http://127") as refused:
        kind(base_url, "key")

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("api_key", ["", "ss_live_…", "ss_live_a\n", "ss_live a"])
def test_a_client_of_a_key_that_cannot_be_sent_is_not_made(
    kind: type[Client | AsyncClient], api_key: str
) -> None:
    with pytest.raises(ValueError, match=r"^api_key must be "):
        kind("http://api.test", api_key)


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:8080", "HTTPS://api.test/behind/", "http://[::1]:80", "http://höst.test"],
)
def test_an_address_may_have_a_port_and_a_path(base_url: str) -> None:
    Client(base_url, "ss_live_a").close()
