"""What may be done with one document: steps, each of which takes about a microsecond.

A pattern or an expression is short, and so is a document; what the one does with the other is not.
"""

from __future__ import annotations

from typing import Final, cast

from signalstack.core.errors import InvalidError

# One template or one filter: about 0.2 s of one core, and a tree that fits into memory many times.
STEPS: Final = 200_000

_CHARS_PER_STEP: Final = 16


class CostError(InvalidError):
    """What was asked for takes more steps than there are."""

    def __init__(self) -> None:
        super().__init__("costs too much: it visits or makes too many values")


class Budget:
    """Steps that are `left`; below zero once more was asked for."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps

    def pay(self, steps: int) -> None:
        """Take steps off, or raise CostError."""
        self.left -= steps
        if self.left < 0:
            raise CostError

    def pay_for_text(self, length: int) -> None:
        """Pay for making a text of so many characters."""
        self.pay(length // _CHARS_PER_STEP)

    def pay_for(self, value: object) -> None:
        """Pay for the whole tree below a value, counting what is shared as often as it occurs."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self.pay(1)
            if isinstance(item, str):
                self.pay_for_text(len(item))
            elif isinstance(item, dict):
                members = cast("dict[str, object]", item)
                self.pay_for_text(sum(map(len, members)))
                waiting.extend(members.values())
            elif isinstance(item, list):
                waiting.extend(cast("list[object]", item))
