"""The API as an ASGI application for servers other than ours: `uvicorn signalstack.asgi:app`.

The server must speak ASGI's lifespan protocol, by which pools are opened and closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from signalstack import settings as environment
from signalstack import wiring
from signalstack.core.errors import find_ours
from signalstack.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Served = Callable[[Message, Receive, Send], Awaitable[None]]


class Application:
    """Serves while its lifespan lasts; reads the settings when that begins, not before."""

    def __init__(self) -> None:
        self._served: Served | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Be an ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._served is None:
            raise RuntimeError("the server must run ASGI's lifespan, and did not (or it has ended)")
        else:
            await self._served(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup, the only message there can be
        started = False
        try:
            settings = environment.load()
            logs.configure(
                cast("logs.Level", settings.log_level), cast("logs.Format", settings.log_format)
            )
            database = await wiring.reach_database(settings)
            observer = wiring.make_observer(settings, "api")
            async with wiring.open_app(settings, database, observer=observer) as self._served:
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
        except Exception as error:
            if started:
                raise
            known = find_ours(error)
            await send({"type": "lifespan.startup.failed", "message": str(known or error)})
            if known is None:
                raise
            return
        finally:
            self._served = None
        await send({"type": "lifespan.shutdown.complete"})


app: Final = Application()
