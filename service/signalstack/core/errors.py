"""Every refusal and failure that crosses a layer, as a class; the API maps each to a status."""

from __future__ import annotations

from typing import cast

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a request body; `pointer` is an RFC 6901 JSON Pointer into it."""

    pointer: str
    detail: str


class SignalStackError(Exception):
    """Root of all errors raised on purpose; the message is a sentence fit for the caller."""


class MalformedError(SignalStackError):
    """The bytes are not what their media type says (400); faults point where that can be told."""

    def __init__(self, detail: str, *faults: Fault) -> None:
        super().__init__(detail)
        self.faults = faults


class InvalidError(SignalStackError):
    """Well-formed but wrong (422), with a pointer for each fault."""

    def __init__(self, detail: str, *faults: Fault) -> None:
        super().__init__(detail)
        self.faults = faults

    @classmethod
    def at(cls, pointer: str, detail: str) -> InvalidError:
        """Make the error for a single fault."""
        return cls(f"{pointer or 'body'}: {detail}", Fault(pointer=pointer, detail=detail))


class UnauthenticatedError(SignalStackError):
    """No key, or none that opens (401)."""


class ForbiddenError(SignalStackError):
    """The key is good but its scopes do not reach (403)."""


class NotFoundError(SignalStackError):
    """Unknown, or another tenant's: the two look the same (404)."""


class ConflictError(SignalStackError):
    """The state of the thing forbids it (409)."""


class TooLargeError(SignalStackError):
    """The body or one of its parts passes a limit (413)."""


class UnsupportedMediaError(SignalStackError):
    """A media type or encoding that is not read here (415)."""


class RateLimitedError(SignalStackError):
    """The key made more requests than it may (429); it may again after `retry_after_s` seconds."""

    def __init__(self, *, retry_after_s: int) -> None:
        super().__init__(f"this key makes too many requests; wait {retry_after_s} s")
        self.retry_after_s = retry_after_s


class UnavailableError(SignalStackError):
    """PostgreSQL is away or too slow; nothing is known to be stored (503)."""


class LateError(UnavailableError):
    """What takes long was not begun any more, since its request's time for that was over (503)."""


class SettingsError(SignalStackError):
    """A setting names a value that cannot be used; the message says what would be right."""


class SchemaError(SignalStackError):
    """The database's schema is not the one this build knows; the message has the command to run."""


class EmbeddedError(SignalStackError):
    """The embedded PostgreSQL cannot start; the message says what to do."""


def find_ours(error: BaseException) -> SignalStackError | None:
    """Find our own error, alone or as the only one in groups of tasks."""
    while isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(inner) != 1:
            return None
        error = inner[0]
    return error if isinstance(error, SignalStackError) else None
