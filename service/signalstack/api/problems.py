"""Refusals and failures as RFC 9457 problem details: one table from error class to status.

A problem's `type` is `urn:signalstack:problem:<name>`: it stays the same whichever host answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIA_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:signalstack:problem:"
RETRY_AFTER: Final = (b"retry-after", b"1")


class MethodNotAllowedError(errors.SignalStackError):
    """The path is known, the method is not (405)."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allow = ", ".join(allowed)
        super().__init__(f"{method[:32]} is not possible here, but {self.allow} is")


class AmbiguousError(errors.MalformedError):
    """Two parties could read the message differently (400), so nothing after it can be trusted."""


class HeadersTooLargeError(errors.SignalStackError):
    """There are more headers, or longer ones, than are read (431)."""


class VersionError(errors.SignalStackError):
    """A version of HTTP that is not served here (505)."""


class SlowBodyError(errors.SignalStackError):
    """The body took longer than the deadline to arrive (408)."""


class DisconnectedError(Exception):
    """The caller left before the body was complete; nobody is there to be answered."""


class Kind(msgspec.Struct, frozen=True):
    """What all problems of one error class have in common."""

    status: int
    name: str
    title: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: tuple[errors.Fault, ...] = ()


KINDS: Final[dict[type[Exception], Kind]] = {
    errors.MalformedError: Kind(400, "malformed", "Malformed request"),
    errors.UnauthenticatedError: Kind(401, "unauthenticated", "No valid API key"),
    errors.ForbiddenError: Kind(403, "forbidden", "Not allowed with this key"),
    errors.NotFoundError: Kind(404, "not-found", "Not found"),
    MethodNotAllowedError: Kind(405, "method-not-allowed", "Method not allowed"),
    SlowBodyError: Kind(408, "slow-body", "The body came too slowly"),
    errors.ConflictError: Kind(409, "conflict", "The state forbids it"),
    errors.TooLargeError: Kind(413, "too-large", "Too large"),
    errors.UnsupportedMediaError: Kind(415, "unsupported-media", "Media type or encoding not read"),
    errors.InvalidError: Kind(422, "invalid", "Well-formed but wrong"),
    errors.RateLimitedError: Kind(429, "rate-limited", "Too many requests"),
    HeadersTooLargeError: Kind(431, "headers-too-large", "Headers too large"),
    errors.UnavailableError: Kind(503, "unavailable", "Temporarily unavailable"),
    VersionError: Kind(505, "http-version", "HTTP version not served"),
}
_POINTING: Final = (errors.InvalidError, errors.MalformedError)
BUG: Final = Kind(500, "internal", "Internal error")
_BUG_DETAIL: Final = "Something failed on our side; the request id leads to it in the logs."


def kind_of(error: Exception) -> Kind:
    """Look an error up by its class or the nearest listed one above; unlisted is a bug (500)."""
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), BUG)


def describe(error: Exception, *, instance: str, request_id: str) -> Problem:
    """Put an error into words for the caller; of a bug nothing is told but the request id."""
    kind = kind_of(error)
    return Problem(
        type=TYPE_PREFIX + kind.name,
        title=kind.title,
        status=kind.status,
        detail=_BUG_DETAIL if kind is BUG else str(error),
        instance=instance,
        request_id=request_id,
        errors=error.faults
        if isinstance(error, errors.InvalidError | errors.MalformedError)
        else (),
    )


def ends_connection(error: Exception) -> bool:
    """Tell whether what follows on the connection is unread, unwanted or not to be trusted."""
    return isinstance(
        error,
        AmbiguousError | HeadersTooLargeError | SlowBodyError | VersionError | errors.TooLargeError,
    )


def headers_for(error: Exception) -> list[tuple[bytes, bytes]]:
    """Name the headers that go with a problem's status."""
    headers = [(b"content-type", MEDIA_TYPE)]
    match error:
        case errors.UnauthenticatedError():
            headers.append((b"www-authenticate", b'Bearer realm="signalstack"'))
        case MethodNotAllowedError():
            headers.append((b"allow", error.allow.encode("ascii")))
        case errors.RateLimitedError():
            headers.append((b"retry-after", str(error.retry_after_s).encode("ascii")))
        case errors.UnavailableError():
            headers.append(RETRY_AFTER)
        case _:
            pass
    return headers
