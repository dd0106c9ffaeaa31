"""No secret is said: a process at its most talkative, with all kinds of them, and much failing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import httpx2
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from processes import PATIENCE_S, finish, start

if TYPE_CHECKING:
    from processes import Running

HUSH: Final = "hush"
_SECRETS: Final = {
    "SMTP_URL": f"smtp://mailer:{HUSH}-smtp@127.0.0.1:1",
    "MAIL_FROM": "a@example.com",
    "PAYMENT_GATEWAY_URL": "http://127.0.0.1:1/pay",
    "PAYMENT_GATEWAY_KEY": f"{HUSH}-gateway",
    "WEBHOOK_URL": "http://127.0.0.1:1/messages",
    "WEBHOOK_AUTH_KEY": f"{HUSH}-messages",
    "REDIS_URL": f"redis://cache:{HUSH}-redis@127.0.0.1:1/0",
}
_JOBS: Final[tuple[dict[str, object], ...]] = (
    {"type": "send_email", "payload": {"to": "b@example.com", "subject": "s", "text": "t"}},
    {
        "type": "process_payment",
        "payload": {"amount": 1, "currency": "EUR", "customer": "c", "reference": "r"},
    },
    {
        "type": "send_message",
        "queue": "messages",
        "payload": {"phone_number": "+4915112345678", "content": "x"},
    },
)


@pytest.mark.slow
async def test_no_secret_is_ever_said(database_url: str) -> None:
    dsn = make_conninfo(database_url, password=f"{HUSH}-dsn")
    variables = {
        **_SECRETS,
        "DATABASE_URL": dsn,
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "WEBHOOK_ALLOW_PRIVATE": "on",
        "MAX_ATTEMPTS": "1",
    }
    code, token, told = await finish("keys", "create", "--user", "acme", **variables)
    assert code == 0, told
    said = [told]

    async with start("up", **variables) as process:
        secrets = await _keep_it_busy(await process.read(r"^API +(\S+)"), token.strip())
        await _lose_the_database(database_url, process)
        assert await process.stop() == 0
        said += [process.output, process.errors]
    away = {**variables, "DATABASE_URL": f"postgresql://u:{HUSH}-away@127.0.0.1:1/x"}
    away["LOG_FORMAT"] = "console"
    away["DB_CONNECT_RETRIES"] = "0"
    for command in (("migrate", "up"), ("doctor",), ("audit",)):
        said += (await finish(*command, **away))[1:]

    everything = "\n".join(said)
    assert "job_failed" in everything or "failed" in everything, "it was not talkative"
    for secret in (HUSH, token.strip().split("_")[3], *secrets):
        assert secret not in everything


async def _keep_it_busy(url: str, token: str) -> list[str]:
    """Have everything fail that takes a secret, and return the secrets that were handed out."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_S) as client:
        made = await client.post(
            "/v1/endpoints",
            json={
                "name": "e",
                "url": "http://127.0.0.1:1/hook",
                "headers": {"x-token": f"{HUSH}-header"},
            },
        )
        assert made.status_code == 201, made.text
        rotated = await client.post(f"/v1/endpoints/{made.json()['id']}/rotate-secret")
        hook: dict[str, object] = {"endpoint_id": made.json()["id"], "body": {}}
        for job in (*_JOBS, {"type": "send_webhook", "payload": hook}):
            answer = await client.post("/v1/jobs", json=job, headers={"prefer": "wait=30"})
            assert answer.json()["status"] == "failed", answer.text
            assert HUSH not in answer.text
        await client.get(f"/v1/jobs?cursor={HUSH}-query")
        for wrong in (f"{token[:-1]}!", f"Bearer {HUSH}-bearer"):
            refused = await client.get("/v1/jobs", headers={"authorization": f"Bearer {wrong}"})
            assert refused.status_code == 401
        return [made.json()["secret"], rotated.json()["secret"]]


async def _lose_the_database(dsn: str, process: Running) -> None:
    """Cut every connection, and wait until the process has said so."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with anyio.fail_after(PATIENCE_S):
        await process.read_error(r"link_lost|listener|connection")
