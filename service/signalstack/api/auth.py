"""Who is calling: the API key of a request, and whether its scopes reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalstack.core.errors import ForbiddenError, MalformedError, UnauthenticatedError
from signalstack.core.key import allows

if TYPE_CHECKING:
    from signalstack.api.headers import Headers
    from signalstack.core.key import Principal, Scope
    from signalstack.usecases.authenticate import Authenticator


async def admit(headers: Headers, scope: Scope, authenticator: Authenticator) -> Principal:
    """Check the key of a request and that it has `scope`.

    Raises MalformedError, UnauthenticatedError or ForbiddenError.
    """
    return _reaching(await authenticator.check(token(headers)), scope)


def readmit(headers: Headers, scope: Scope, authenticator: Authenticator) -> Principal | None:
    """Do the same at once, where the key was checked lately; else None."""
    principal = authenticator.recall(token(headers))
    return None if principal is None else _reaching(principal, scope)


def token(headers: Headers) -> str:
    """Take the key from `Authorization: Bearer` or `X-API-Key`; different ones are malformed."""
    bearer, plain = _bearer(headers.get("authorization")), headers.get("x-api-key")
    if bearer is not None and plain is not None and bearer != plain:
        raise MalformedError("Authorization and X-API-Key name different keys")
    given = bearer or plain
    if not given:
        raise UnauthenticatedError("send an API key as Authorization: Bearer or as X-API-Key")
    return given


def _bearer(authorization: str | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        raise UnauthenticatedError("the Authorization header must be: Bearer <key>")
    return credentials.strip()


def _reaching(principal: Principal, scope: Scope) -> Principal:
    if not allows(principal.scopes, scope):
        raise ForbiddenError(f"this key lacks the scope {scope.value}")
    return principal
