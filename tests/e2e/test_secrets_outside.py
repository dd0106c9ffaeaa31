"""Secrets stay inside: what API and worker say, trace, measure and answer while all goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from collector import Collector
from front import make_key
from processes import start
from receiver import receiver, reply
from signalstack.core.key import Scope
from tenants import open_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

# Each is a word of its own, so that whatever shows it can be told.
IN_DSN: Final = "hushDsn"
IN_SMTP_URL: Final = "hushSmtp"
IN_REDIS_URL: Final = "hushRedis"
GATEWAY_KEY: Final = "hushGatewayKey"
WEBHOOK_KEY: Final = "hushWebhookKey"
COLLECTOR_KEY: Final = "hushCollectorKey"
IN_HEADER: Final = "hushHeader"
IN_PATH: Final = "hushPath"
HUSH: Final = "hush"
FORGED_KEY: Final = "ss_test_hushForgedId_hushForgedSecret_hushCrc"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


async def test_no_secret_is_in_logs_spans_metrics_or_answers(
    database_url: str, collector: Collector
) -> None:
    async with open_pool(database_url) as pool:
        key = await make_key(pool, "acme", *Scope)
    async with receiver() as gateway, receiver() as shop:
        gateway.usual = reply(401, body=b'{"error": "who are you?"}')
        shop.usual = reply(500)
        given = _settings(database_url, gateway.url, collector.url)
        async with start("api", **given) as api, start("worker", **given) as worker:
            metrics = [await each.read(r"^metrics +(\S+)") for each in (api, worker)]
            headers = {"authorization": f"Bearer {key}"}
            url = await api.read(r"^API +(\S+)")
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
                secret, answers = await _make_trouble(client, shop.url)
                await _break_connections(database_url)
                answers.append((await client.get("/ready")).text)
                answers += [httpx2.get(each).text for each in metrics]
            said = [each.output + each.errors for each in (api, worker)]
            codes = [await each.stop() for each in (api, worker)]

    assert codes == [0, 0]
    assert secret.startswith("whsec_")
    held = {value for request in gateway.requests for value in request.headers.values()}
    assert {f"Bearer {GATEWAY_KEY}", WEBHOOK_KEY} <= held  # so they were in use
    spans = "".join(str(request) for request in collector.requests)
    assert "deliver" in spans
    seen = {"logs": "".join(said), "spans": spans, "answers": "".join(answers)}
    assert "job_failed" in seen["logs"]
    for where, text in seen.items():
        for word in (HUSH, key, secret, secret.removeprefix("whsec_")):
            at = text.lower().find(word.lower())
            assert at < 0, f"{word} in {where}: {text[max(at - 300, 0) : at + 100]}"


def _settings(dsn: str, gateway: str, collector: str) -> dict[str, str]:
    server = urlsplit(dsn)
    user = server.username or "postgres"
    place = server.netloc.rpartition("@")[2]
    opened = server._replace(netloc=f"{user}:{IN_DSN}@{place}")
    return {
        "DATABASE_URL": opened.geturl(),
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "WEBHOOK_ALLOW_PRIVATE": "on",
        "RETRY_BASE_DELAY": "10ms",
        "DB_CONNECT_DELAY": "200ms",
        "SMTP_URL": f"smtp://mailer:{IN_SMTP_URL}@127.0.0.1:1?starttls=never",
        "MAIL_FROM": "app@example.com",
        "PAYMENT_GATEWAY_URL": f"{gateway}/{IN_PATH}",
        "PAYMENT_GATEWAY_KEY": GATEWAY_KEY,
        "WEBHOOK_URL": f"{gateway}/{IN_PATH}",
        "WEBHOOK_AUTH_KEY": WEBHOOK_KEY,
        "REDIS_URL": f"redis://:{IN_REDIS_URL}@127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{COLLECTOR_KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


async def _make_trouble(client: httpx2.AsyncClient, shop: str) -> tuple[str, list[str]]:
    """Have everything fail that knows a secret; give the endpoint's, and what was answered."""
    there = {"name": "shop", "url": f"{shop}/{IN_PATH}", "headers": {"x-token": IN_HEADER}}
    made = (await client.post("/v1/endpoints", json=there)).json()
    sent = {"phone_number": "+4915112345678", "content": "hello"}
    paid = {"amount": 1, "currency": "EUR", "customer": "c", "reference": "r"}
    mail = {"to": "ada@example.com", "subject": "s", "text": "t"}
    jobs: list[tuple[str, dict[str, Any], str]] = [
        ("send_webhook", {"endpoint_id": made["id"], "body": {}}, "default"),
        ("send_webhook", {"url": f"http://127.0.0.1:1/{IN_PATH}", "body": {}}, "default"),
        ("process_file", {"url": f"http://127.0.0.1:1/{IN_PATH}"}, "default"),
        ("process_payment", paid, "default"),
        ("send_email", mail, "default"),
        ("send_message", sent, "messages"),
    ]
    answers: list[str] = []
    for type_, payload, queue in jobs:
        body: dict[str, Any] = {"type": type_, "payload": payload, "queue": queue}
        answer = await client.post(
            "/v1/jobs", json=body | {"max_attempts": 1}, headers={"prefer": "wait=20"}
        )
        ended: dict[str, Any] = answer.json()
        assert ended["status"] == "failed", ended
        answers.append(ended["last_error"])
    answers += await _refusals(client)
    return made["secret"], answers


async def _refusals(client: httpx2.AsyncClient) -> list[str]:
    """Ask for what is refused, with secrets in it."""
    forged = {"authorization": f"Bearer {FORGED_KEY}"}
    crooked = {"authorization": f"Basic {IN_HEADER}"}
    at = "https://example.com/"
    bad: list[tuple[str, dict[str, Any]]] = [
        ("/v1/jobs", {"headers": forged, "json": {}}),
        ("/v1/jobs", {"headers": crooked, "json": {}}),
        ("/v1/endpoints", {"json": {"name": "n", "url": f"http://u:{IN_PATH}@example.com/"}}),
        ("/v1/endpoints", {"json": {"name": "n", "url": at, "headers": {"host": IN_HEADER}}}),
        ("/v1/endpoints", {"json": {"name": "n", "url": at, "headers": {"a": f"{IN_HEADER}\n"}}}),
    ]
    answers = [await client.post(path, **what) for path, what in bad]
    assert {answer.status_code for answer in answers} <= {400, 401, 422}, answers
    return [answer.text for answer in answers]


async def _break_connections(dsn: str) -> None:
    """Cut every connection of the processes, so that they tell of it."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
