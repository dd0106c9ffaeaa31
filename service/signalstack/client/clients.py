"""The two clients: one for event loops, and one for threads that steps through the same code."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

import anyio
import httpx2

from signalstack.client.operations import Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from signalstack.client.call import Call, Outcome

T = TypeVar("T")
P = ParamSpec("P")

_MAX_PORT: Final = 65_535
# Who waits for a job has a connection meanwhile: with a bound to them, others would get none.
_LIMITS: Final = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
_ADDRESS: Final = re.compile(
    r"(?i)https?://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?"
)
_KEY: Final = re.compile(r"[\x21-\x7e]+")


class AsyncClient(Operations):
    """Speaks to one API with one key; safe to share between tasks.

    `timeout_s` is for one try, beside what it asks the API to wait; `retries` are further tries.

    Raises:
        ValueError: `base_url` is no address, or `api_key` could not be sent.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 3,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(retries)
        self._timeout_s = timeout_s
        self._http = httpx2.AsyncClient(
            base_url=_address(base_url),
            headers=_headers(api_key),
            limits=_LIMITS,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _try(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.request(**call.arguments(self._timeout_s))
        except httpx2.TransportError as error:
            return error

    async def _pause(self, pause_s: float) -> None:
        await anyio.sleep(pause_s)


class _Steps(Operations):
    """Blocks wherever a thread may, so that no operation is ever suspended."""

    def __init__(self, http: httpx2.Client, *, timeout_s: float, retries: int) -> None:
        super().__init__(retries)
        self._timeout_s = timeout_s
        self._http = http

    async def _try(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.request(**call.arguments(self._timeout_s))
        except httpx2.TransportError as error:
            return error

    async def _pause(self, pause_s: float) -> None:
        time.sleep(pause_s)  # noqa: ASYNC251, TID251 - this one is for threads


def _blocking(
    method: Callable[Concatenate[Operations, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], T]:
    @wraps(method)
    def call(self: Client, *args: P.args, **kwargs: P.kwargs) -> T:
        return _step(method(self.steps, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[Operations, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @wraps(method)
    def iterate(self: Client, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        found = method(self.steps, *args, **kwargs)
        while True:
            try:
                item = _step(anext(found))
            except StopAsyncIteration:
                return
            yield item

    return iterate


def _step(coroutine: Awaitable[T]) -> T:
    """Run a coroutine that never suspends."""
    steps = coroutine.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return done.value
    raise AssertionError("it suspended")


class Client:
    """As AsyncClient, but each method returns when it is done; safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 3,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(
            base_url=_address(base_url),
            headers=_headers(api_key),
            limits=_LIMITS,
            transport=transport,
        )
        self.steps = _Steps(self._http, timeout_s=timeout_s, retries=retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    enqueue = _blocking(Operations.enqueue)
    enqueue_many = _blocking(Operations.enqueue_many)
    get = _blocking(Operations.get)
    wait = _blocking(Operations.wait)
    cancel = _blocking(Operations.cancel)
    retry = _blocking(Operations.retry)
    jobs = _iterating(Operations.jobs)
    send_event = _blocking(Operations.send_event)


def _address(base_url: str) -> httpx2.URL:
    with suppress(httpx2.InvalidURL):
        url = httpx2.URL(base_url)
        if _ADDRESS.fullmatch(base_url) and (url.port or 0) <= _MAX_PORT:
            return url
    # Not quoted: what was meant to be one may hold a password.
    raise ValueError(
        "base_url must be http:// or https:// with a host and maybe a port and a path, as in "
        "'http://127.0.0.1:8080'"
    )


def _headers(api_key: str) -> dict[str, str]:
    if not _KEY.fullmatch(api_key):
        raise ValueError(
            "api_key must be visible ASCII characters alone, as in 'ss_live_…', without a space "
            "or a line end"
        )
    return {"authorization": f"Bearer {api_key}", "user-agent": "signalstack-python"}
