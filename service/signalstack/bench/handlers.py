"""The bench's own job type, which workers load by SIGNALSTACK_HANDLERS: it says when it starts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.bench.stamps import Stamps

if TYPE_CHECKING:
    from signalstack.core.handler import Context

LOCATION: Final = f"{__name__}:HANDLERS"
STAMP: Final = "signalstack-bench.stamp"


class Where(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of stamps and the slot in it."""

    file: str
    slot: int


async def stamp(payload: Where, _context: Context) -> None:
    """Take the moment down."""
    at_ns = monotonic_ns()
    _open(payload.file).set(payload.slot, at_ns)


HANDLERS: Final = {STAMP: stamp}


@cache
def _open(file: str) -> Stamps:
    return Stamps(Path(file))
