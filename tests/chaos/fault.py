"""What a fault of a chaos run is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from chaos.stack import Stack

START_S: Final = 4.0
"""How long a Python process of ours takes to start on a busy machine of two cores."""
LINK_S: Final = 4.0
"""Keepalives and tcp_user_timeout find a dead link within this time."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that is over when `strike` returns; `limit_s` is how soon a new job has then run."""

    name: str
    strike: Callable[[Stack, Random], Awaitable[None]]
    limit_s: float
