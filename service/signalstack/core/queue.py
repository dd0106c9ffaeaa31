"""A queue as its tenant sees and limits it."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

from signalstack.core.endpoint_config import Rate

MAX_QUEUES: Final = 100
MAX_CONCURRENCY: Final = 100_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,99}")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is held across all workers: jobs at once, and jobs started in time; None is no limit."""

    concurrency: int | None = None
    rate: Rate | None = None

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.concurrency is not None or self.rate is not None


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant's part of a queue stands.

    `depth` are jobs that are due and wait; it is exact unless there are very many. `oldest_age_s`
    is how long the oldest of them has been due, null when none waits.
    """

    name: str
    depth: int
    depth_exact: bool
    oldest_age_s: float | None
    running: int
    paused: bool
    concurrency: int | None
    rate: Rate | None


class QueueChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may change of a queue; null takes a limit away, what is not named stays."""

    concurrency: (
        Annotated[int, msgspec.Meta(ge=1, le=MAX_CONCURRENCY)] | msgspec.UnsetType | None
    ) = msgspec.UNSET
    rate: Rate | msgspec.UnsetType | None = msgspec.UNSET

    def of(self, limits: Limits) -> Limits:
        """Tell what the limits become."""
        given = {
            name: value
            for name, value in (("concurrency", self.concurrency), ("rate", self.rate))
            if value is not msgspec.UNSET
        }
        return msgspec.structs.replace(limits, **given)


def check_new_name(name: str) -> None:
    """Raise ValueError, with what would be right, unless a new queue may be named so."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "a new queue is named by up to 100 of a-z, 0-9, _, ., : and -, the first a letter "
            "or a digit"
        )


def may_exist(name: str) -> bool:
    """Tell whether any queue could be named so: an operator's choice is wider."""
    return name.isprintable()
