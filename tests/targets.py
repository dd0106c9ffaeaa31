"""Targets that must not be reached, and an API with a worker whose DNS a test scripts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from contexts import Witness
from front import open_front
from signalstack.handlers import file, message, payment, webhook
from signalstack.handlers.addressee import Endpoints
from signalstack.handlers.outbound import open_outbound
from signalstack.usecases import endpoints, messages
from working import open_shop

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Sequence

    from front import Front
    from signalstack.core.handler import JobType
    from working import Crew


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


# Never one reading only, or none: refused wherever a URL is given.
MALFORMED: Final = [
    *("http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/"),
    *("http://0177.0.0.1/", "http://0x7f.0x0.0x0.0x1/", "http://127.0.0x1/", "http://127.0.0.1./"),
    *("http://0/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://127.0.0.01/"),
    *("http://\uff11\uff12\uff17.0.0.1/", "http://127\u30020.0.1/", "http://127.0.0.\u2460/"),
    *("http://\u24c1ocalhost/", "http://loc\u00adalhost/", "http://b\u00fccher.example/"),
    *("http://user@example.com/", "http://user:pw@example.com/", "http://example.com@10.0.0.1/"),
    *("http://example.com:80@10.0.0.1/", "http://%40@10.0.0.1/", "http://[::1]@example.com/"),
    *("http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/"),
    *("http://example.com:/", "http://example.com:8\u0660/", "http://example.com:80:80/"),
    *("http://localhost./", "http://example.com./", "http://example..com/", "http://.localhost/"),
    *("http://%31%32%37.0.0.1/", "http://127%2e0.0.1/", "http://exam%00ple.com/"),
    *("http://[fe80::1%25lo]/", "http://[::1%lo]/", "http://[v1.::1]/", "http://[127.0.0.1]/"),
    *("http://[::ffff:0x7f000001]/", "http://[::1/", "http://::1/", "http://[]/"),
    *("http://example.com\\@10.0.0.1/", "http:\\\\10.0.0.1/", "http://example.com\t/"),
    *("http://example.com/\r\nHost: x", "http://exam\nple.com/", "http://example.com/ x"),
    *("http://example.com/#@10.0.0.1/", "http:/10.0.0.1/", "http:10.0.0.1", "//10.0.0.1/"),
    *("file:///etc/passwd", "gopher://10.0.0.1/", "ftp://10.0.0.1/", "dict://10.0.0.1:6379/"),
    *("unix:///run/x.sock", "javascript:alert(1)", "http+unix://x/", "ws://example.com/"),
    "http://example.com/" + "a" * 2_048,
]
# One reading, and that is not a public place: refused for endpoints, and no job gets there.
PRIVATE: Final = [
    *("0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1"),  # noqa: S104 - nothing is bound
    *("127.255.255.254", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.8", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1"),
    *("192.168.0.1", "192.175.48.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("100.100.100.200", "168.63.129.16", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "[::ffff:0:127.0.0.1]", "[::8.8.8.8]"),
    *(
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[100:0:0:1::1]",
    ),
    *("[2001::1]", "[2001:0:7f00:1::]", "[2001:10::1]", "[2001:20::1]", "[2001:db8::1]"),
    *("[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2620:4f:8000::1]", "[3fff::1]", "[5f00::1]"),
    *("[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[4000::1]"),
    *("localhost", "LOCALHOST", "app.localhost", "localhost.localdomain", "printer.local"),
    *("metadata.google.internal", "router.home.arpa", "intranet", "metadata", "ip6-localhost"),
    *(
        "example.com:22",
        "example.com:25",
        "example.com:5432",
        "example.com:6379",
        "[2606:4700::1]:53",
    ),
]
# What a public name may answer with instead.
ANSWERS: Final = [host.strip("[]") for host in PRIVATE if _is_address(host)]


class Names:
    """A DNS whose answers are scripted: each look-up takes the next one, the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        known = self.answers.get(host, [[]])
        return known.pop(0) if len(known) > 1 else known[0]


class Scene:
    """The API and a worker at one database."""

    def __init__(self, front: Front, crew: Crew) -> None:
        self.front = front
        self.crew = crew

    async def post(self, type_: str, payload: object, **given: object) -> UUID:
        body = {"type": type_, "payload": payload, "max_attempts": 1, **given}
        answer = await self.front.client.post("/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    async def end(self, job: UUID) -> dict[str, Any]:
        """Wait for a job's end and read it as its owner does."""
        await self.crew.ended(job)
        return (await self.front.client.get(f"/v1/jobs/{job}")).json()

    async def run(self, type_: str, payload: object, **given: object) -> dict[str, Any]:
        return await self.end(await self.post(type_, payload, **given))

    async def deliver(self, url: str, **given: object) -> dict[str, Any]:
        return await self.run("send_webhook", {"url": url, "body": {}}, **given)


@asynccontextmanager
async def at_work(
    dsn: str,
    *,
    names: Names | None = None,
    timeout_s: float = 5,
    allow_private: bool = False,
    tls: ssl.SSLContext | None = None,
    gateway: str | None = None,
) -> AsyncGenerator[Scene]:
    resolve = names.resolve if names else None
    async with (
        open_shop(dsn) as shop,
        open_outbound(
            timeout_s=timeout_s, allow_private=allow_private, resolve=resolve, tls=tls
        ) as outbound,
        open_outbound(timeout_s=timeout_s, allow_private=True) as ours,
    ):
        types: list[JobType] = [
            webhook.build(
                outbound=outbound,
                observer=Witness(),
                endpoints=Endpoints(
                    find=partial(endpoints.get_for_delivery, shop.pool),
                    disable=partial(endpoints.disable, shop.pool),
                    failed=partial(endpoints.record_failure, shop.pool),
                    recovered=partial(endpoints.clear_failures, shop.pool),
                    take=partial(endpoints.take, shop.pool),
                    hold=partial(endpoints.hold, shop.pool),
                ),
            ),
            file.build(outbound=outbound, observer=Witness(), max_bytes=1_000_000),
            payment.build(outbound=ours, observer=Witness(), url=gateway, key="pgk-hidden"),
            message.build(
                outbound=ours,
                observer=Witness(),
                hold=partial(messages.hold, shop.pool),
                url=gateway,
                key="wak-hidden",
                char_limit=160,
            ),
        ]
        async with (
            open_front(dsn, job_types=types) as front,
            shop.worker({}, on_board=types, concurrency=16) as crew,
        ):
            yield Scene(front, crew)
