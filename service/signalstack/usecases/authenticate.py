"""Authenticating callers: a presented API key becomes a principal, mostly without a query."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from signalstack.core.errors import (
    ForbiddenError,
    SignalStackError,
    UnauthenticatedError,
    UnavailableError,
)
from signalstack.core.key import Principal, Scope, matches, parse_key
from signalstack.store import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.core.key import ParsedKey
    from signalstack.store.pool import Pool

GOOD_LIMIT: Final = 10_000
BAD_LIMIT: Final = 1_000
BAD_TTL_S: Final = 1.0

_NO_SECRET: Final = bytes(32)
# One sentence for all of them: which it was would tell a guesser that an id exists.
_REFUSAL: Final = "this API key is unknown, revoked or expired"


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a key, and for how long it may be believed."""

    principal: Principal | None = None
    refusal: type[SignalStackError] = UnauthenticatedError
    detail: str = _REFUSAL
    ttl_s: float = BAD_TTL_S

    def open(self) -> Principal:
        """Return the principal, or raise the refusal."""
        if self.principal is None:
            raise self.refusal(self.detail)
        return self.principal


class _Flight:
    """A query for a key under way; `verdict` stays None when who asked was cancelled."""

    __slots__ = ("landed", "verdict")

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.verdict: _Verdict | None = None


class Authenticator:
    """Checks keys; what it found holds for `ttl_s` seconds, so a revoked key may live that long.

    Keys are remembered by SHA-256. Good and bad ones have their own bounded memory: a flood of bad
    ones pushes out no good one.
    """

    def __init__(
        self, pool: Pool, *, ttl_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._ttl_s = ttl_s
        self._clock = clock
        self._good: dict[bytes, tuple[float, _Verdict]] = {}
        self._bad: dict[bytes, tuple[float, _Verdict]] = {}
        self._flights: dict[bytes, _Flight] = {}

    def recall(self, token: str) -> Principal | None:
        """Tell whose key it is, as `check` does, where PostgreSQL was asked lately; else None."""
        verdict = self._recall(_digest(token))
        return None if verdict is None else verdict.open()

    async def check(self, token: str) -> Principal:
        """Tell whose key it is.

        Raises:
            UnauthenticatedError: unknown, malformed, revoked or expired.
            ForbiddenError: its tenant is suspended.
            UnavailableError: it is not remembered and PostgreSQL is away.
        """
        digest = _digest(token)
        while True:
            verdict = self._recall(digest)
            if verdict is not None:
                return verdict.open()
            flight = self._flights.get(digest)
            if flight is None:
                return (await self._ask(digest, token)).open()
            await flight.landed.wait()
            if flight.verdict is not None:
                return flight.verdict.open()
            # Who asked was cancelled before the answer: ask again, or join who does.

    def _recall(self, digest: bytes) -> _Verdict | None:
        until, verdict = self._good.get(digest) or self._bad.get(digest) or _NOTHING
        return verdict if self._clock() < until else None

    async def _ask(self, digest: bytes, token: str) -> _Verdict:
        parsed = parse_key(token)
        if parsed is None:
            return _Verdict()
        flight = self._flights[digest] = _Flight()
        try:
            verdict = await self._judge(parsed)
            self._remember(digest, verdict)
            flight.verdict = verdict
        finally:
            del self._flights[digest]
            flight.landed.set()
        return verdict

    async def _judge(self, parsed: ParsedKey) -> _Verdict:
        try:
            async with self._pool.connection() as conn:
                found = await keys.find(conn, key_id=parsed.id)
        except UnavailableError as error:
            return _Verdict(refusal=UnavailableError, detail=str(error), ttl_s=0.0)
        # An unknown id costs a comparison too.
        fits = matches(_NO_SECRET if found is None else found.secret_sha256, parsed)
        if found is None or not fits or found.revoked:
            return _Verdict()
        ttl_s = self._ttl_s
        if found.expires_in_s is not None:
            ttl_s = min(ttl_s, found.expires_in_s)
            if ttl_s <= 0:
                return _Verdict()
        if found.suspended:
            return _Verdict(refusal=ForbiddenError, detail="this account is suspended")
        scopes = frozenset(scope for scope in Scope if scope.value in found.scopes)
        principal = Principal(user_id=found.user_id, key_id=parsed.id, scopes=scopes)
        return _Verdict(principal=principal, ttl_s=ttl_s)

    def _remember(self, digest: bytes, verdict: _Verdict) -> None:
        if verdict.ttl_s <= 0:
            return
        good = verdict.principal is not None
        memory, limit = (self._good, GOOD_LIMIT) if good else (self._bad, BAD_LIMIT)
        self._good.pop(digest, None)
        self._bad.pop(digest, None)
        if len(memory) >= limit:
            del memory[next(iter(memory))]  # the oldest: dicts keep their order
        memory[digest] = (self._clock() + verdict.ttl_s, verdict)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


_NOTHING: Final = (float("-inf"), _Verdict())
