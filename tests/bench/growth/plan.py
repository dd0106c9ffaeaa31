"""Owns how far each axis goes, and how much is measured at each of its points."""

from __future__ import annotations

from typing import Final

import msgspec

from bench.peers.measures import Size


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The points of each axis; a transaction is open for `held` windows, and over for `after`."""

    backlog: tuple[int, ...] = (0, 10_000, 100_000, 1_000_000, 5_000_000)
    history: tuple[int, ...] = (0, 100_000, 1_000_000, 10_000_000)
    tenants: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    workers: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    drains: int = 3
    rate: int = 200
    window_s: int = 30
    held: int = 20
    after: int = 2
    size: Size = Size(idle=200, steady_s=5, backlog=30_000, drain_s=60)


QUICK: Final = Plan(
    backlog=(0, 2_000),
    history=(0, 2_000),
    tenants=(1, 10),
    workers=(1, 2),
    drains=1,
    window_s=1,
    held=2,
    after=1,
    size=Size(idle=25, idle_s=5, steady_s=0.5, backlog=2_000, drain_s=20),
)
