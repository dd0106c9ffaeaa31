"""Connects to a host only at an address that was looked up, checked, and is then used as it is.

Nothing is looked up a second time between check and connect, so no answer of the DNS can swap the
target. A kept-alive connection stays at the address that was checked for it.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.to_thread
import httpcore2

from signalstack.core.address import check_ip
from signalstack.core.errors import SignalStackError

if TYPE_CHECKING:
    import ssl

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_ADDRESSES: Final = 4  # tried for one host, each with its share of the time


class BlockedError(SignalStackError):
    """The target must not be reached from here; the message names it and the reason."""


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """The network as httpcore2 sees it, with the guard in `connect_tcp`.

    Args:
        allow_private: let loopback, private and other special addresses through.
        connect_s: seconds for all connecting, shared by the addresses of a host.
        lookups: threads that may wait for the DNS at once.
        resolve: finds the addresses of a host; OSError when there is none.
    """

    def __init__(
        self, *, allow_private: bool, connect_s: float, lookups: int, resolve: Resolve | None
    ) -> None:
        self._allow_private = allow_private
        self._connect_s = connect_s
        self._resolve = resolve or _lookup_with(anyio.CapacityLimiter(lookups))
        # Its type reads as the stand-in for installations without anyio.
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2 names it so
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first checked address of `host` that answers; else raise BlockedError."""
        addresses = await self._checked(host, port)
        share_s = (timeout or self._connect_s) / len(addresses)
        failure: Exception | None = None
        for ip in addresses:
            try:
                return _Stream(
                    await self._network.connect_tcp(
                        ip, port, share_s, local_address, socket_options
                    )
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = failure or error
        raise failure or AssertionError("no address was tried")

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the host name {host} is not known: {error}") from None
        if not addresses:
            raise httpcore2.ConnectError(f"the host name {host} has no address")
        # One is enough: a name that leads inside and outside is how rebinding begins.
        reasons = [reason for ip in addresses if (reason := check_ip(ip))]
        if reasons and not self._allow_private:
            raise BlockedError(f"{host}: {'; '.join(reasons[:_ADDRESSES])}")
        return _mixed(addresses)[:_ADDRESSES]


class _Stream(httpcore2.AsyncNetworkStream):
    """A stream whose socket is closed also when the TLS handshake is cancelled."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2 names it so
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore2 names it so
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2 names it so
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _mixed(addresses: Sequence[str]) -> Sequence[str]:
    """Take both families in turn: of one alone, the first few may all lead nowhere."""
    first = [ip for ip in addresses if (":" in ip) == (":" in addresses[0])]
    others = [ip for ip in addresses if (":" in ip) != (":" in addresses[0])]
    return [ip for pair in zip_longest(first, others) for ip in pair if ip is not None]


def _lookup_with(limiter: anyio.CapacityLimiter) -> Resolve:
    async def lookup(host: str, port: int) -> Sequence[str]:
        # Abandoned on cancel: a name server that hangs must not outlast the delivery's deadline.
        found = await anyio.to_thread.run_sync(
            _addresses, host, port, limiter=limiter, abandon_on_cancel=True
        )
        return list(dict.fromkeys(found))

    return lookup


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]
