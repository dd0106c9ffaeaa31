"""How every layer logs: a constant event name and fields, over the standard library's logging.

What becomes of a line (its format, level and place) is for whoever configures logging to say.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

Fields = dict[str, object]

_bound: Final[ContextVar[Fields | None]] = ContextVar("signalstack_log_fields", default=None)


class Log:
    """A named logger; costs next to nothing while its level is off."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Fields | None = None) -> None:
        self._logger = logger
        self._fields = fields

    def having(self, **fields: object) -> Log:
        """Return a logger that adds these fields to every line."""
        return Log(self._logger, {**(self._fields or {}), **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        """Log at level debug."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Log at level info."""
        if self._logger.isEnabledFor(logging.INFO):
            self._write(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log at level warning."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._write(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Log at level error."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """Log at level error with the traceback of the exception being handled."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._write(logging.ERROR, event, fields, with_traceback=True)

    def _write(
        self, level: int, event: str, fields: Fields, *, with_traceback: bool = False
    ) -> None:
        if self._fields:
            fields = {**self._fields, **fields}
        self._logger.log(level, event, exc_info=with_traceback, extra={"fields": fields})


def get_logger(name: str) -> Log:
    """Return the logger of this name, `signalstack.<layer>` by custom."""
    return Log(logging.getLogger(name))


def bind(**fields: object) -> Token[Fields | None]:
    """Add fields to every line that is logged in this context, also by libraries, until `unbind`.

    Not a context manager, which would take three times as long around each job and request.
    """
    outer = _bound.get()
    return _bound.set({**outer, **fields} if outer else fields)


unbind: Final = _bound.reset


def bound() -> Mapping[str, object]:
    """Return the fields of the current context."""
    return _bound.get() or {}
