"""Counts calls of functions: a cost that is the same on a busy machine as on a quiet one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def count_calls(function: Callable[[], object]) -> int:
    """Tell how many functions this one calls, those of the interpreter among them, and they."""
    made = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return made - 2  # the function itself, and the end of counting
