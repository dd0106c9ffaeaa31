"""What the handlers are given to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from signalstack.api.rate_limit import RateLimit
from signalstack.core.cursor import Cursors
from signalstack.core.handler import Registry
from signalstack.core.stage import Observer
from signalstack.store.cache import MessageCache
from signalstack.store.pool import Pool
from signalstack.usecases.accept import Acceptor
from signalstack.usecases.authenticate import Authenticator
from signalstack.usecases.queues import KnownQueues
from signalstack.usecases.wait import Watchers

Check = Callable[[], Awaitable[str | None]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much and how long one request may be; times in seconds."""

    max_body_bytes: int = 262_144
    body_timeout_s: float = 10.0
    request_timeout_s: float = 5.0
    check_timeout_s: float = 2.0
    heartbeat_s: float = 15.0
    stream_s: float = 3_600.0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that handlers use.

    `readiness` checks return why a part is not ready, or None; `allow_private` lets webhooks go to
    addresses that are not public; without `rate_limit` a key may make any number of requests;
    serving can do without `message_cache`.
    """

    pool: Pool
    acceptor: Acceptor
    authenticator: Authenticator
    queues: KnownQueues
    watchers: Watchers
    observer: Observer
    registry: Registry
    cursors: Cursors
    readiness: Mapping[str, Check]
    limits: Limits = Limits()
    allow_private: bool = False
    rate_limit: RateLimit | None = None
    message_cache: MessageCache | None = None
