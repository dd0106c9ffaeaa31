"""Sent messages in Redis, where there is one: the only user of redis, and nothing depends on it.

Only what can change no more is kept. Redis gets little time for an answer, and none at all for a
while after it failed, so one that is away costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from signalstack.core.errors import SettingsError
from signalstack.core.message import Message, MessageStatus
from signalstack.core.stage import CacheAsked

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self
    from uuid import UUID

    from signalstack.core.stage import Observer

DEADLINE_S: Final = 0.1
PAUSE_S: Final = 5.0  # in which Redis is left alone after it failed
KEPT_S: Final = 3_600
_CONNECTIONS: Final = 10


class MessageCache:
    """Keeps sent messages at hand for an hour; open it with `async with`."""

    def __init__(self, url: str, observer: Observer) -> None:
        """Make the client; it connects when it is first asked.

        Raises:
            SettingsError: the library is missing, or it cannot read the URL.
        """
        if find_spec("redis") is None:
            raise SettingsError("REDIS_URL is set: it needs `pip install signalstack[redis]`")
        self._redis = _client(url)
        self._observer = observer
        self._paused_until = 0.0
        self._fault: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.move_on_after(DEADLINE_S, shield=True):
            await self._redis.aclose()

    @property
    def resting(self) -> bool:
        """Whether Redis failed a moment ago and is left alone."""
        return monotonic() < self._paused_until

    async def get(self, user_id: UUID, message_id: UUID) -> Message | None:
        """Find a sent message; None when it is not here, whyever."""
        answered, found = await self._ask("get", _key(user_id, message_id))
        message = _read(found) if answered else None
        outcome = ("hit" if message else "miss") if answered else "error"
        self._observer.tell(CacheAsked(outcome=outcome))
        return message

    async def put(self, user_id: UUID, message: Message) -> None:
        """Keep a message for an hour if it was sent, since then nothing changes any more."""
        if message.status is MessageStatus.SENT:
            key = _key(user_id, message.id)
            await self._ask("set", key, msgspec.json.encode(message), ex=KEPT_S)

    async def check(self) -> str | None:
        """Tell why Redis cannot be used, or None."""
        await self._ask("ping")
        return self._fault

    async def _ask(self, command: str, *arguments: Any, **options: Any) -> tuple[bool, Any]:
        """Give a command; False when there was no answer in time, or nobody asked."""
        if self.resting:
            return False, None
        try:
            with anyio.fail_after(DEADLINE_S):
                answer = await getattr(self._redis, command)(*arguments, **options)
        except TimeoutError:
            fault = f"Redis gave no answer within {DEADLINE_S * 1_000:g} ms"
        except Exception as error:  # noqa: BLE001 - whatever it is, everything goes on without it
            fault = f"Redis cannot be used: {error or type(error).__name__}"
        else:
            self._fault = None
            return True, answer
        self._fault, self._paused_until = fault, monotonic() + PAUSE_S
        return False, None


def _client(url: str) -> Any:
    library = import_module("redis.asyncio")
    never = import_module("redis.backoff").NoBackoff()
    try:
        return library.Redis.from_url(
            url,
            max_connections=_CONNECTIONS,
            socket_timeout=DEADLINE_S,
            socket_connect_timeout=DEADLINE_S,
            retry=import_module("redis.asyncio.retry").Retry(never, 0),
        )
    except ValueError:
        # Not quoted: a password with a "/" is torn, and a piece of it taken for the port.
        raise SettingsError(
            "REDIS_URL cannot be used: it must be like redis://user:password@host:6379/0 (special "
            "characters percent-encoded)"
        ) from None


def _key(user_id: UUID, message_id: UUID) -> str:
    # The tenant is part of it: an id alone must open nobody else's message.
    return f"signalstack:message:{user_id}:{message_id}"


def _read(found: object) -> Message | None:
    """Read what was kept; None for what another release, or somebody else, has written."""
    if not isinstance(found, bytes):
        return None
    try:
        return msgspec.json.decode(found, type=Message)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
