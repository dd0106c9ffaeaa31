"""Where we connect: each attack is refused at the door or blocked by a worker, which says why.

The jobs of these tests come in over HTTP and run in a real worker; only the DNS is ours to script.
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from boarding import ON_BOARD
from front import open_front
from receiver import Answer, Exchange, drip, hang, huge, raw, receiver, redirect, reply
from signalstack.core.message import JOB_TYPE as SEND_MESSAGE
from targets import ANSWERS, MALFORMED, PRIVATE, Names, at_work

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

TLS: Final = Path(__file__).parents[1] / "tls"
NOBODY: Final = "2d00::1"  # global unicast that was never given to anybody
QUICK_S: Final = 0.5
PAYMENT: Final = {"amount": 100, "currency": "EUR", "customer": "c", "reference": "r"}
TEXT: Final = {"phone_number": "+4915112345678", "content": "hello"}


def given(kind: str, url: str) -> dict[str, Any]:
    """Say what to post to give a URL as an endpoint or to a job."""
    if kind == "endpoint":
        return {"url": "/v1/endpoints", "json": {"name": "shop", "url": url}}
    payload: dict[str, object] = {"url": url}
    if kind == "send_webhook":
        payload["body"] = {}
    return {"url": "/v1/jobs", "json": {"type": kind, "payload": payload}}


@pytest.mark.parametrize("kind", ["endpoint", "send_webhook", "process_file"])
async def test_url_that_means_two_things_or_none_is_refused_at_the_door(
    database_url: str, kind: str
) -> None:
    async with open_front(database_url, job_types=ON_BOARD) as front:
        wrong: dict[str, str] = {}
        for url in MALFORMED:
            answer = await front.client.post(**given(kind, url))
            faults = answer.json().get("errors", [{}])
            pointer = "/url" if kind == "endpoint" else "/payload/url"
            if answer.status_code != 422 or faults[0].get("pointer") != pointer:
                wrong[url] = answer.text

    assert wrong == {}


async def test_endpoint_at_a_place_that_is_not_public_is_refused_at_the_door(
    database_url: str,
) -> None:
    async with open_front(database_url, job_types=ON_BOARD) as front:
        good = await front.client.post(**given("endpoint", "https://example.com/"))
        wrong: dict[str, str] = {}
        for host in PRIVATE:
            made = await front.client.post(**given("endpoint", f"http://{host}/"))
            path = f"/v1/endpoints/{good.json()['id']}"
            moved = await front.client.patch(path, json={"url": f"http://{host}/"})
            for answer in (made, moved):
                if answer.status_code != 422 or answer.json()["errors"][0]["pointer"] != "/url":
                    wrong[host] = answer.text

    assert wrong == {}


async def test_job_to_a_place_that_is_not_public_is_blocked_and_says_why(database_url: str) -> None:
    names = Names()
    async with at_work(database_url, names=names) as scene:
        sent: dict[tuple[str, str], UUID] = {}
        for host in PRIVATE:
            for type_ in ("send_webhook", "process_file"):
                body = given(type_, f"http://{host}/")["json"]
                sent[type_, host] = await scene.post(type_, body["payload"])
        ended = {name: await scene.end(job) for name, job in sent.items()}

    reasons = ("not a public address", "a name of a private network", "another protocol")
    wrong = {
        name: job
        for name, job in ended.items()
        if job["status"] != "failed" or not any(why in job["last_error"] for why in reasons)
    }
    assert wrong == {}
    assert names.asked == []  # nothing was looked up, so nothing was connected to


async def test_name_that_leads_to_a_special_address_is_blocked_and_says_why(
    database_url: str,
) -> None:
    names = Names()
    names.answers = {f"n{n}.example.com": [[ip]] for n, ip in enumerate(ANSWERS)}
    async with at_work(database_url, names=names) as scene:
        jobs = [
            await scene.post("send_webhook", {"url": f"https://{name}/", "body": {}})
            for name in names.answers
        ]
        ended = [await scene.end(job) for job in jobs]

    for name, job in zip(names.answers, ended, strict=True):
        assert job["status"] == "failed"
        assert job["last_error"].startswith(f"{name}: ")
        assert "not a public address" in job["last_error"]
    assert sorted(names.asked) == sorted(names.answers)  # once each


async def test_name_that_leads_inside_and_outside_is_blocked(database_url: str) -> None:
    names = Names()
    async with receiver() as inside, at_work(database_url, names=names) as scene:
        for answer in ([NOBODY, "127.0.0.1"], ["127.0.0.1", NOBODY]):
            names.answers = {"both.example.com": [answer]}
            job = await scene.deliver(f"http://both.example.com:{inside.port}/")

            assert job["last_error"] == (
                "both.example.com: 127.0.0.1 is loopback, not a public address"
            )
    assert inside.connections == 0


async def test_name_that_is_rebound_between_tries_is_blocked(database_url: str) -> None:
    names = Names()
    names.answers = {"rebind.example.com": [[NOBODY], ["127.0.0.1"]]}
    async with (
        receiver() as inside,
        at_work(database_url, names=names, timeout_s=QUICK_S) as scene,
    ):
        job = await scene.deliver(f"http://rebind.example.com:{inside.port}/", max_attempts=2)

    # One look-up a try: what was checked is what is connected to.
    assert names.asked == ["rebind.example.com"] * 2
    assert job["attempt"] == 2
    assert job["last_error"] == "rebind.example.com: 127.0.0.1 is loopback, not a public address"
    assert inside.connections == 0


async def test_proxies_of_the_environment_are_ignored(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as proxy, receiver() as r:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with at_work(database_url, allow_private=True) as scene:
            job = await scene.deliver(r.url)

    assert job["status"] == "succeeded"
    assert (proxy.connections, len(r.requests)) == (0, 1)


async def test_redirect_into_the_house_is_not_followed(database_url: str) -> None:
    async with (
        receiver() as inside,
        receiver() as r,
        at_work(database_url, allow_private=True, gateway=r.url) as scene,
    ):
        ended: list[dict[str, Any]] = []
        for status in (301, 303, 307, 308, 302):
            r.usual = redirect(inside.url, status)
            ended.append(await scene.deliver(r.url))
            ended.append(await scene.run("process_file", {"url": r.url}))
            ended.append(await scene.run("process_payment", PAYMENT))
        ended.append(await scene.run(SEND_MESSAGE, TEXT, queue="messages"))

    for job in ended:
        assert job["status"] == "failed"
        assert "answered 30" in job["last_error"]
        assert "hidden" not in job["last_error"]

    assert inside.connections == 0


async def _endless_informational(exchange: Exchange) -> None:
    while True:
        await exchange.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


async def _endless_header(exchange: Exchange) -> None:
    await exchange.stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.stream.send(b"x-more: " + b"x" * 1_000 + b"\r\n")


async def _endless_body(exchange: Exchange) -> None:
    await exchange.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
    while True:
        await exchange.stream.send(b"x")
        await anyio.sleep(0.01)


BROKEN: Final[Mapping[str, tuple[Answer, str, str | None]]] = {
    # What it answers; what becomes of the job; what its last_error says.
    "never": (hang, "failed", "no answer within 2 s"),
    "head drips": (drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 99), "failed", "no answer within"),
    "100 for ever": (_endless_informational, "failed", "no answer within"),
    "header for ever": (_endless_header, "failed", None),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "failed", "illegal status line"),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy"),
        "failed",
        "conflicting Content-Length",
    ),
    "gigabyte": (huge(1_000_000_000), "succeeded", None),
    "body drips": (_endless_body, "succeeded", None),
    "200, then nothing": (
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        "succeeded",
        None,
    ),
}


async def test_answer_that_has_no_end_is_cut(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        urls = {
            name: (await stack.enter_async_context(receiver(answer))).url
            for name, (answer, _, _) in BROKEN.items()
        }
        async with at_work(database_url, allow_private=True, timeout_s=2) as scene:
            sent = {
                name: await scene.post("send_webhook", {"url": url, "body": {}})
                for name, url in urls.items()
            }
            with anyio.fail_after(20):
                ended = {name: await scene.end(job) for name, job in sent.items()}

    for name, (_, status, says) in BROKEN.items():
        job = ended[name]
        assert job["status"] == status, (name, job)
        assert says is None or says in job["last_error"], name
        assert len(str(job["result"])) < 2_000, name


async def test_file_without_an_end_is_cut(database_url: str) -> None:
    async with (
        receiver(huge(1_000_000_000, 200)) as r,
        at_work(database_url, allow_private=True) as scene,
    ):
        job = await scene.run("process_file", {"url": r.url})

    assert job["last_error"] == "the file is longer than 1,000,000 bytes"


@pytest.mark.parametrize(
    ("certificate", "host", "trusted", "says"),
    [
        ("receiver", "receiver.test", False, "not trusted: self-signed certificate"),
        ("receiver", "other.test", True, "not trusted: Hostname mismatch"),
        ("expired", "receiver.test", True, "not trusted: certificate has expired"),
        ("receiver", "receiver.test", True, None),
    ],
)
async def test_receiver_that_cannot_prove_its_name_gets_nothing(
    database_url: str, certificate: str, host: str, *, trusted: bool, says: str | None
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(TLS / f"{certificate}.test.pem")
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    trust = ssl.create_default_context(
        cafile=str(TLS / f"{certificate}.test.pem") if trusted else None
    )
    names = Names()
    names.answers = {host: [["127.0.0.1"]]}
    async with (
        receiver(tls=server) as r,
        at_work(database_url, names=names, allow_private=True, tls=trust) as scene,
    ):
        job = await scene.deliver(f"https://{host}:{r.port}/")

    assert asked == [host]  # the name, although the connection went to an address
    if says is None:
        assert job["status"] == "succeeded"
    else:
        assert says in job["last_error"]
        assert r.requests == []


async def test_operator_may_name_a_gateway_in_the_house_and_a_tenant_may_not(
    database_url: str,
) -> None:
    accepted = reply(200, body=b'{"id": "c-1", "status": "captured", "messageId": "m-1"}')
    async with receiver() as r, at_work(database_url, gateway=r.url) as scene:
        r.usual = accepted
        paid = await scene.run("process_payment", PAYMENT)
        told = await scene.run(SEND_MESSAGE, TEXT, queue="messages")
        sent = await scene.deliver(r.url)

    assert (paid["status"], told["status"]) == ("succeeded", "succeeded")
    assert sent["last_error"].endswith("127.0.0.1 is loopback, not a public address")
    assert len(r.requests) == 2
