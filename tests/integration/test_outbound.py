"""Requests to hosts that tenants name: what is reached, what is cut, what is never connected to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from receiver import Answer, drip, hang, huge, raw, receiver, redirect, reply, reset
from signalstack.handlers.outbound import (
    MAX_REPLY_BYTES,
    Reply,
    TooSlowError,
    UnreachableError,
    open_outbound,
)
from signalstack.handlers.pinned import BlockedError, Resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

CERTIFICATE = Path(__file__).parents[1] / "tls" / "receiver.test.pem"
SPECIAL = [
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "192.0.0.8",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::ffff:127.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fd00::1",
    "ff02::1",
]


def answers_with(*addresses: str) -> Resolve:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return lookup


async def post(url: str, *, timeout_s: float = 5, resolve: Resolve | None = None) -> Reply:
    async with open_outbound(timeout_s=timeout_s, allow_private=True, resolve=resolve) as outbound:
        to = outbound.destination(url)
        return await outbound.send("POST", to, headers={"x-a": "1"}, body=b"hello")


async def test_request_arrives_as_it_was_given_and_its_reply_comes_back() -> None:
    async with receiver(reply(201, headers={"X-Made": "yes"}, body=b"made")) as r:
        got = await post(f"{r.url}?a=b%20c")

        (sent,) = r.requests
    assert (sent.method, sent.target, sent.body) == ("POST", "/hook?a=b%20c", b"hello")
    assert sent.headers == {"x-a": "1", "host": f"127.0.0.1:{r.port}", "content-length": "5"}
    assert (got.status, got.body, got.complete) == (201, b"made", True)
    assert got.headers["x-made"] == "yes"


@pytest.mark.parametrize(
    ("rest", "target"), [("", "/"), ("?a=/", "/?a=/"), ("/", "/"), ("/p?q", "/p?q")]
)
async def test_path_and_query_are_taken_as_written(rest: str, target: str) -> None:
    async with receiver() as r:
        await post(f"http://127.0.0.1:{r.port}{rest}")

    assert r.requests[0].target == target


async def test_connection_is_used_again_for_the_same_host() -> None:
    async with receiver() as r, open_outbound(timeout_s=5, allow_private=True) as outbound:
        to = outbound.destination(r.url)
        for _ in range(3):
            await outbound.send("POST", to, headers={})

    assert [request.connection for request in r.requests] == [1, 1, 1]


async def test_cookies_of_one_request_are_not_sent_with_the_next() -> None:
    cookie = reply(204, headers={"set-cookie": "session=theirs; Path=/"})
    async with receiver(cookie) as r, open_outbound(timeout_s=5, allow_private=True) as outbound:
        for _ in range(2):
            await outbound.send("POST", outbound.destination(r.url), headers={})

    assert "cookie" not in r.requests[1].headers


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as r:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await post(r.url)

    assert (len(proxy.requests), len(r.requests)) == (0, 1)


async def test_redirect_is_an_answer_and_is_not_followed() -> None:
    async with receiver() as other, receiver(redirect(other.url)) as r:
        got = await post(r.url)

    assert got.status == 302
    assert other.requests == []


async def test_huge_body_is_cut_and_its_connection_dropped() -> None:
    async with (
        receiver(huge(50_000_000)) as r,
        open_outbound(timeout_s=5, allow_private=True) as outbound,
    ):
        to = outbound.destination(r.url)
        got = await outbound.send("POST", to, headers={})
        await outbound.send("POST", to, headers={})

    assert (got.status, len(got.body), got.complete) == (200, MAX_REPLY_BYTES, False)
    assert [request.connection for request in r.requests] == [1, 2]


def chunks(count: int, of: bytes) -> Answer:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return raw(head + b"%x\r\n%b\r\n" % (len(of), of) * count + b"0\r\n\r\n")


async def test_answer_of_countless_pieces_is_cut() -> None:
    async with receiver(chunks(20_000, b"x")) as r:
        got = await post(r.url)

    assert (got.status, got.complete) == (200, False)
    assert len(got.body) < 2_100


async def test_download_in_tiny_pieces_is_given_up() -> None:
    taken = Counter[int]()
    async with (
        receiver(chunks(20_000, b"x")) as r,
        open_outbound(timeout_s=5, allow_private=True) as outbound,
    ):
        with pytest.raises(UnreachableError, match="pieces that are too small"):
            await outbound.fetch(
                outbound.destination(r.url),
                headers={},
                take=lambda piece: taken.update([len(piece)]),
            )

    assert taken.total() < 2_100


async def test_download_in_small_pieces_lets_others_have_their_turn() -> None:
    turns = 0
    taken = Counter[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with (
        receiver(chunks(5_000, b"x" * 20)) as r,
        open_outbound(timeout_s=5, allow_private=True) as outbound,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(others)
        await outbound.fetch(
            outbound.destination(r.url), headers={}, take=lambda _: taken.update([turns])
        )
        tasks.cancel_scope.cancel()

    assert taken.total() >= 5_000
    assert max(taken.values()) <= 128


async def test_body_as_long_as_the_limit_is_complete() -> None:
    async with receiver(huge(MAX_REPLY_BYTES)) as r:
        got = await post(r.url)

    assert (len(got.body), got.complete) == (MAX_REPLY_BYTES, True)


@pytest.mark.parametrize("answer", [hang, drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000)])
async def test_head_that_does_not_come_in_time_is_too_slow(answer: Answer) -> None:
    async with receiver(answer) as r:
        with pytest.raises(TooSlowError, match=r"no answer within 0\.3 s"):
            await post(r.url, timeout_s=0.3)


async def test_body_that_drips_past_the_deadline_is_cut_and_the_status_counts() -> None:
    dripping = drip(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + b"x" * 999, every_s=0.005)
    async with receiver(dripping) as r:
        got = await post(r.url, timeout_s=1)

    assert (got.status, got.complete) == (200, False)


async def test_body_that_breaks_off_is_cut_and_the_status_counts() -> None:
    async with receiver(raw(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf")) as r:
        got = await post(r.url)

    assert (got.status, got.body, got.complete) == (202, b"half", False)


@pytest.mark.parametrize("answer", [reset, raw(b""), raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")])
async def test_broken_answer_is_unreachable(answer: Answer) -> None:
    async with receiver(answer) as r:
        with pytest.raises(UnreachableError):
            await post(r.url)


async def test_closed_port_is_unreachable_in_plain_words() -> None:
    async with receiver() as r:
        closed = r.url
    with pytest.raises(UnreachableError, match="Connection refused"):
        await post(closed)


async def test_unknown_name_is_unreachable_in_plain_words() -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(UnreachableError, match=r"hooks\.test is not known: .*Name or service"):
        await post("http://hooks.test/", resolve=lookup)


async def test_name_without_addresses_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match=r"hooks\.test has no address"):
        await post("http://hooks.test/", resolve=answers_with())


async def test_lookup_counts_into_the_deadline() -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    with pytest.raises(TooSlowError):
        await post("http://hooks.test/", resolve=lookup, timeout_s=0.1)


async def test_as_many_names_are_looked_up_at_once_as_there_may_be_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(40, timeout=10)
    lookup = socket.getaddrinfo

    def meet(host: str, *args: Any, **options: Any) -> Any:
        if host == "hooks.test":
            together.wait()
        return lookup("127.0.0.1", *args, **options)

    async with (
        receiver() as r,
        open_outbound(timeout_s=20, allow_private=True, max_connections=40) as outbound,
    ):
        to = outbound.destination(f"http://hooks.test:{r.port}/")
        monkeypatch.setattr(socket, "getaddrinfo", meet)
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(lambda: outbound.send("POST", to, headers={}))

    assert len(r.requests) == 40


async def test_next_address_is_tried_when_the_first_does_not_answer() -> None:
    async with receiver() as r:
        got = await post(f"http://hooks.test:{r.port}/", resolve=answers_with("::1", "127.0.0.1"))

    assert got.status == 204
    assert r.requests[0].headers["host"] == f"hooks.test:{r.port}"


async def test_other_family_is_tried_although_the_first_has_many_addresses() -> None:
    async with receiver() as r:
        many = answers_with("::1", "::1", "::1", "::1", "127.0.0.1")
        got = await post(f"http://hooks.test:{r.port}/", resolve=many)

    assert got.status == 204


async def test_cancelled_request_closes_its_connection_and_frees_its_place() -> None:
    async with (
        receiver(hang) as r,
        open_outbound(timeout_s=30, allow_private=True, max_connections=1) as outbound,
    ):
        to = outbound.destination(r.url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: outbound.send("POST", to, headers={}))
            await r.wait_for(1)
            tasks.cancel_scope.cancel()
        got = await outbound.send("POST", to, headers={})

    assert got.status == 204


@pytest.mark.parametrize("ip", SPECIAL)
async def test_name_that_resolves_to_a_special_address_is_blocked(ip: str) -> None:
    async with open_outbound(timeout_s=5, resolve=answers_with(ip)) as outbound:
        to = outbound.destination("https://hooks.example.com/")
        with pytest.raises(
            BlockedError, match=r"hooks\.example\.com: .* is .*not a public address"
        ):
            await outbound.send("POST", to, headers={})


async def test_blocked_name_is_not_connected_to_even_among_public_ones() -> None:
    async with receiver() as r:
        # The first is from TEST-NET: blocked as well, and so nothing but the refusal can follow.
        resolve = answers_with("203.0.113.1", "127.0.0.1")
        async with open_outbound(timeout_s=5, resolve=resolve) as outbound:
            to = outbound.destination(f"http://hooks.example.com:{r.port}/")
            with pytest.raises(BlockedError, match=r"127\.0\.0\.1 is loopback"):
                await outbound.send("POST", to, headers={})

    assert r.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://localhost/",
        "http://user:pass@hooks.example.com/",
        "ftp://hooks.example.com/",
    ],
)
async def test_url_that_must_not_be_used_is_refused_before_any_lookup(url: str) -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        raise AssertionError("it was looked up")

    async with open_outbound(timeout_s=5, resolve=lookup) as outbound:
        with pytest.raises(BlockedError) as caught:
            outbound.destination(url)
    assert "pass" not in str(caught.value).replace("password", "")


async def test_certificate_is_checked_against_the_name_and_not_the_address() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with (
        receiver(tls=server) as r,
        open_outbound(
            timeout_s=5, allow_private=True, resolve=answers_with("127.0.0.1"), tls=trust
        ) as outbound,
    ):
        right = outbound.destination(f"https://receiver.test:{r.port}/")
        wrong = outbound.destination(f"https://other.test:{r.port}/")

        got = await outbound.send("POST", right, headers={})
        with pytest.raises(UnreachableError, match="certificate"):
            await outbound.send("POST", wrong, headers={})

    assert got.status == 204
    assert len(r.requests) == 1


async def test_untrusted_certificate_is_refused() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    async with receiver(tls=server) as r:
        with pytest.raises(UnreachableError, match="certificate"):
            await post(
                f"https://receiver.test:{r.port}/", resolve=answers_with("127.0.0.1"), timeout_s=5
            )
