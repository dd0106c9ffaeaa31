"""What a connection may speak: HTTP/1.1, and no way around a proxy that knows only that."""

from __future__ import annotations

import anyio
import h2.config
import h2.connection
import h2.events

from contexts import Witness
from front import PATIENCE_S, READ_LIMIT, edge_alone, served
from signalstack.api import health

UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


async def test_an_upgrade_to_http_2_leads_nowhere() -> None:
    """Past a proxy that passes `Upgrade` on, whoever got through could ask for anything."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async with (
        served(edge_alone(health.OPERATIONS, Witness())) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(UPGRADE)
        head = await stream.receive(READ_LIMIT)
        peer.initiate_upgrade_connection(b"AAMAAABkAAQAAP__")
        await stream.send(peer.data_to_send())
        statuses = await _statuses(peer, stream, head.partition(b"\r\n\r\n")[2])

    assert statuses == ["505"]


async def _statuses(
    peer: h2.connection.H2Connection, stream: anyio.abc.ByteStream, heard: bytes
) -> list[str]:
    with anyio.fail_after(PATIENCE_S):
        while True:
            for event in peer.receive_data(heard):
                if isinstance(event, h2.events.ResponseReceived):
                    found = dict(event.headers or ())
                    return [bytes(found[b":status"]).decode()]
            heard = await stream.receive(READ_LIMIT)
