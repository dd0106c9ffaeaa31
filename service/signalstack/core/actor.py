"""Who acts, for the audit log: an API key, somebody at the command line, or the service itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from contextvars import Token

# It goes with the request, beside the arguments: no use-case decides anything by it.
_ACTOR: Final[ContextVar[str]] = ContextVar("signalstack.actor", default="service")


class acting:  # noqa: N801 - reads as a verb in `with acting("key …")`; a class enters faster
    """Have what is done in this block be put down to an actor."""

    __slots__ = ("_actor", "_token")
    _token: Token[str]

    def __init__(self, actor: str) -> None:
        self._actor = actor

    def __enter__(self) -> None:
        self._token = _ACTOR.set(self._actor)

    def __exit__(self, *_: object) -> None:
        _ACTOR.reset(self._token)


def current() -> str:
    """Tell who acts."""
    return _ACTOR.get()
