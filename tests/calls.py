"""Bounds a cost by the calls that it takes: the same on a busy machine as on a quiet one."""

from __future__ import annotations

import sys
from typing import Final

_OWN: Final = 2  # calls of the block's end: __exit__, and setprofile


class Bounded:
    """A block that may make so many calls of functions, those of C among them."""

    def __init__(self, calls: int) -> None:
        """Raise AssertionError once there are more, and at the end if that was caught."""
        self._limit = calls + _OWN
        self._made = 0

    def __enter__(self) -> None:
        self._before = sys.getprofile()
        sys.setprofile(self._count)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        sys.setprofile(self._before)
        if kind is None:
            assert self._made <= self._limit, self._told

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self._made += event in ("call", "c_call")
        if self._made > self._limit:
            sys.setprofile(None)
            raise AssertionError(self._told)

    @property
    def _told(self) -> str:
        return f"more than {self._limit - _OWN} calls"
