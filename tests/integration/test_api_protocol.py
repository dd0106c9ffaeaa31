"""What a connection may speak: HTTP/1.1, and no way around a proxy that knows only that."""

from __future__ import annotations

import anyio
import h2.config
import h2.connection
import h2.events

from contexts import Witness
from front import PATIENCE_S, READ_LIMIT, edge_alone, served
from signalstack.api import health

# As Java's HttpClient sends it with each request without a body, unless told not to.
UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


async def test_an_offer_of_http_2_is_passed_over() -> None:
    """Past a proxy that passes `Upgrade` on, whoever got through could ask for anything."""
    async with (
        served(edge_alone(health.OPERATIONS, Witness())) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        for _ in range(2):  # and the connection is good for another
            with anyio.fail_after(PATIENCE_S):
                await stream.send(UPGRADE)
                answer = await stream.receive(READ_LIMIT)
                while b'"live"' not in answer:
                    answer += await stream.receive(READ_LIMIT)

            assert answer.startswith(b"HTTP/1.1 200 ")


async def test_http_2_leads_nowhere() -> None:
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    peer.initiate_connection()
    asked = {":method": "GET", ":scheme": "http", ":authority": "a", ":path": "/live"}
    peer.send_headers(1, list(asked.items()), end_stream=True)

    async with (
        served(edge_alone(health.OPERATIONS, Witness())) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(peer.data_to_send())
        statuses = await _statuses(peer, stream)

    assert statuses == ["505"]


async def _statuses(peer: h2.connection.H2Connection, stream: anyio.abc.ByteStream) -> list[str]:
    with anyio.fail_after(PATIENCE_S):
        while True:
            for event in peer.receive_data(await stream.receive(READ_LIMIT)):
                if isinstance(event, h2.events.ResponseReceived):
                    found = dict(event.headers or ())
                    return [bytes(found[b":status"]).decode()]
