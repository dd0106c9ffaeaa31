"""What stops a run: the one cancel scope of a slot, which lasts as long as nothing was stopped.

A scope for each run costs as much as all else that is done for a quick job. A scope that cancelled
something is of no use to the next run: it is left at once, and the slot is replaced.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, cast

import anyio
from anyio._backends import _asyncio as anyio_asyncio

from signalstack.core.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

_log: Final = get_logger("signalstack.worker")


class Seat:
    """A cancel scope around whatever its task runs; made, left and tidied in that task."""

    __slots__ = ("_state", "left", "scope")

    def __init__(self) -> None:
        """Enter the scope."""
        self.scope = anyio.CancelScope()
        self.scope.__enter__()
        self.left = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        # There is no public way to learn of a task's innermost scope.
        states = cast("Mapping[object, _TaskState]", vars(anyio_asyncio)["_task_states"])
        self._state = states[task]

    @property
    def spent(self) -> bool:
        """Whether something was stopped, so that nothing else may run in here."""
        return self.left or self.scope.cancel_called

    def tidy(self) -> None:
        """Leave the scopes that a handler entered and did not leave.

        anyio raises when an outer scope or the task ends before them.
        """
        while (inner := self._state.cancel_scope) is not self.scope and inner is not None:
            _log.warning("scope_left_open")
            inner.__exit__(None, None, None)

    def leave(self, error: BaseException | None = None) -> BaseException | None:
        """Leave the scope, once; returns what is left of `error` without what it asked for."""
        if self.left:
            return error
        self.left = True
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        try:
            caught = self.scope.__exit__(kind, error, trace)
        except BaseException as rest:  # noqa: BLE001 - a group without its cancellations
            return rest
        return None if caught else error


def is_from_outside(error: BaseException) -> bool:
    """Tell a cancellation that ends all slots from one that a handler brought on itself."""
    return isinstance(error, asyncio.CancelledError) and anyio.current_effective_deadline() == -inf


class _TaskState(Protocol):
    """What anyio keeps of a task: its innermost scope, as far as it is of use here."""

    cancel_scope: anyio.CancelScope | None
