"""Sends HTTP requests to hosts that tenants name: guarded, bounded in time, size and number.

It stands on httpcore2 and not on httpx2's client, because what that one adds (cookies kept for all
tenants, decompression of replies, proxies from the environment) is what must not happen here.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import httpcore2
import msgspec

from signalstack.core.address import check_url
from signalstack.core.errors import InvalidError, SignalStackError
from signalstack.handlers.pinned import BlockedError, PinnedBackend, Resolve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

MAX_REPLY_BYTES: Final = 65_536
USER_AGENT: Final = f"SignalStack/{version('signalstack')}"

MAX_CONNECTIONS: Final = 100
_MAX_IDLE: Final = 20
# Below the 5 s after which Node.js and others close an idle connection: a request that meets the
# closing would cost an attempt.
_IDLE_S: Final = 4.0

# Whatever a reader has at hand comes without a return to the loop, chunk by chunk: tiny ones would
# hold up all who share it.
_MAX_PIECES: Final = 2_048  # of an answer
_PIECES_A_TURN: Final = 64  # of a download, and then the others' turn
_LEAST_AVERAGE: Final = 16  # bytes of a download's pieces, once there are _MAX_PIECES of them

# A download holds a slot and a connection: what comes slower than that would hold them for a day.
_GRACE_S: Final = 30.0
_LEAST_PACE: Final = 1_024  # bytes a second on average, once the grace is over

_MAX_CAUSE: Final = 200
_AUTHORITY_END: Final = re.compile(r"[/?]")

_NETWORK_ERRORS: Final = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
    ssl.SSLError,
)


class UnreachableError(SignalStackError):
    """No answer came: no connection, no trust in it, or it broke."""


class TooSlowError(SignalStackError):
    """No answer came in time."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; header names are in lower case.

    `complete` is False when the body was cut: too long, too slow, or broken off.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that may be sent to; only its path may hold what must not be shown."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


class Outbound:
    """A bounded pool of connections to hosts that were checked; never follows a redirect."""

    def __init__(
        self,
        pool: httpcore2.AsyncConnectionPool,
        *,
        timeout_s: float,
        grace_s: float,
        allow_private: bool,
    ) -> None:
        self._pool = pool
        self._grace_s = grace_s
        self._timeout_s = timeout_s
        self._allow_private = allow_private

    def destination(self, url: str) -> Destination:
        """Read a URL; raises BlockedError, which never quotes it, when it must not be used."""
        try:
            target = check_url(url, allow_private=self._allow_private)
        except InvalidError as error:
            raise BlockedError("; ".join(fault.detail for fault in error.faults)) from error
        # check_url let only one reading pass: scheme://authority, then a path or a query.
        rest = url.partition("://")[2]
        authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
        path = rest[len(authority) :]
        return Destination(
            scheme=target.scheme,
            host=target.host,
            port=target.port,
            authority=authority.lower(),
            path=path if path.startswith("/") else f"/{path}",
        )

    async def send(
        self, method: str, to: Destination, *, headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        """Send one request and read the reply, at most 64 KiB of its body.

        Raises BlockedError, UnreachableError or TooSlowError. Once a status has come the answer is
        known: what happens to the body then only cuts it.
        """
        request = _request(method, to, headers, body)
        response: httpcore2.Response | None = None
        received, complete = bytearray(), False
        with anyio.move_on_after(self._timeout_s):
            try:
                response = await self._pool.handle_async_request(request)
                complete = await _read(response, received)
            except httpcore2.TimeoutException as error:
                raise self._too_slow() from error
            except _NETWORK_ERRORS as error:
                if response is None:
                    raise UnreachableError(_cause(error)) from error
        if response is None:
            raise self._too_slow()
        return _reply(response, bytes(received), complete=complete)

    async def fetch(
        self, to: Destination, *, headers: Mapping[str, str], take: Callable[[bytes], None]
    ) -> Reply:
        """Send a GET and hand a 2xx body to `take`, piece by piece; the reply's body stays empty.

        The time limit is for the answer's head and for each piece, and the pieces have a least
        pace: who waits for all of it must have a deadline. Raises like `send`, and whatever `take`
        raises.
        """
        try:
            with anyio.fail_after(self._timeout_s):
                request = _request("GET", to, headers, b"")
                response = await self._pool.handle_async_request(request)
            complete = await self._drain(response, take)
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise self._too_slow() from error
        except _NETWORK_ERRORS as error:
            raise UnreachableError(_cause(error)) from error
        return _reply(response, b"", complete=complete)

    async def _drain(self, response: httpcore2.Response, take: Callable[[bytes], None]) -> bool:
        """Hand all of a 2xx body on; False when there was another one, which is not read."""
        try:
            if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of success
                return False
            async with aclosing(response.aiter_stream()) as chunks:
                pieces, size, began = 0, 0, anyio.current_time()
                while True:
                    with anyio.fail_after(self._timeout_s):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return True
                    take(chunk)
                    pieces, size = pieces + 1, size + len(chunk)
                    if pieces > _MAX_PIECES and size < pieces * _LEAST_AVERAGE:
                        raise UnreachableError("the body comes in pieces that are too small")
                    passed_s = anyio.current_time() - began
                    if passed_s > self._grace_s and size < passed_s * _LEAST_PACE:
                        raise TooSlowError(f"less than {_LEAST_PACE:,} bytes a second")
                    if pieces % _PIECES_A_TURN == 0:
                        await anyio.lowlevel.checkpoint()
        finally:
            await response.aclose()

    def _too_slow(self) -> TooSlowError:
        return TooSlowError(f"no answer within {self._timeout_s:g} s")


@asynccontextmanager
async def open_outbound(
    *,
    timeout_s: float,
    allow_private: bool = False,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
    max_connections: int = MAX_CONNECTIONS,
    grace_s: float = _GRACE_S,
) -> AsyncGenerator[Outbound]:
    """Open the pool, and close its connections at the end of the block.

    Args:
        timeout_s: seconds for one request in all, from the name's look-up to the reply's end.
        allow_private: let it reach loopback, private and other special addresses.
        resolve: finds the addresses of a host instead of the system's resolver.
        tls: whom to trust instead of the system's (or SSL_CERT_FILE's) authorities.
        max_connections: more requests, and look-ups, than that wait within their time; as many as
            jobs run at once, so that no tenant waits for the slow receivers of another.
        grace_s: seconds after which a download must have kept the least pace.
    """
    network = PinnedBackend(
        allow_private=allow_private,
        connect_s=timeout_s,
        lookups=max_connections,
        resolve=resolve,
    )
    async with httpcore2.AsyncConnectionPool(
        ssl_context=tls or httpcore2.default_ssl_context(),
        max_connections=max_connections,
        max_keepalive_connections=_MAX_IDLE,
        keepalive_expiry=_IDLE_S,
        network_backend=network,
    ) as pool:
        yield Outbound(pool, timeout_s=timeout_s, grace_s=grace_s, allow_private=allow_private)


def _request(
    method: str, to: Destination, headers: Mapping[str, str], body: bytes
) -> httpcore2.Request:
    fields = {**headers, "host": to.authority, "content-length": str(len(body))}
    return httpcore2.Request(
        method=method,
        url=httpcore2.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.path),
        headers=list(fields.items()),
        content=body,
    )


async def _read(response: httpcore2.Response, into: bytearray) -> bool:
    """Read the body up to the limits of size and pieces; False when there was more of it."""
    pieces = 0
    try:
        async with aclosing(response.aiter_stream()) as chunks:
            async for chunk in chunks:
                room = MAX_REPLY_BYTES - len(into)
                into += chunk[:room]
                pieces += 1
                if len(chunk) > room or pieces > _MAX_PIECES:
                    return False
    finally:
        # Shields itself. A connection with an unread rest is closed, any other goes back.
        await response.aclose()
    return True


def _reply(response: httpcore2.Response, body: bytes, *, complete: bool) -> Reply:
    headers = {
        name.decode("ascii", "replace").lower(): value.decode("latin-1")
        for name, value in response.headers
    }
    return Reply(status=response.status, headers=headers, body=body, complete=complete)


def _cause(error: BaseException) -> str:
    """Find the plainest words for why the network failed."""
    # httpcore2 wraps an error in its own as the argument, and drops the __cause__.
    inner = error.__cause__ or next((a for a in error.args if isinstance(a, BaseException)), None)
    if inner is not None:
        return _cause(inner)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    # h11 quotes what it cannot read, whatever its length.
    return str(error)[:_MAX_CAUSE] or "the connection broke off"
