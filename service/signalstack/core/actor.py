"""Who acts, for the audit log: an API key, somebody at the command line, or the service itself."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

# It goes with the request, beside the arguments: no use-case decides anything by it.
_ACTOR: Final[ContextVar[str]] = ContextVar("signalstack.actor", default="service")


@contextmanager
def acting(actor: str) -> Generator[None]:
    """Have what is done in this block be put down to an actor."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def current() -> str:
    """Tell who acts."""
    return _ACTOR.get()
