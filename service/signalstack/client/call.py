"""One request to the API as a value: when it is tried again, and what it brings in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import httpx2
import msgspec

from signalstack.client.answers import ApiError, Problem, UnreachableError

T = TypeVar("T")
Outcome = httpx2.Response | httpx2.TransportError

FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 30.0
_BUSY: Final = 429
_PASSING: Final = frozenset({_BUSY, 502, 503, 504})
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A request; a `repeatable` one has no further effect when it is made again.

    `wait_s` is how long the API is asked to wait.
    """

    method: str
    path: str
    into: type[T]
    repeatable: bool = True
    body: object = None
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    wait_s: int = 0

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """Name what httpx2 is to be told."""
        typed = {} if self.body is None else {"content-type": "application/json"}
        return {
            "method": self.method,
            "url": f"/v1{self.path}",
            "params": self.params,
            "content": None if self.body is None else msgspec.json.encode(self.body),
            "headers": {**self.headers, **typed},
            "timeout": httpx2.Timeout(timeout_s, read=timeout_s + self.wait_s),
        }

    def pause_s(self, outcome: Outcome, tried: int, jitter: float) -> float | None:
        """Tell how long to pause before another try; None when the outcome stands.

        The pause doubles from try to try, is never shorter than Retry-After, MAX_PAUSE_S at most,
        and `jitter` (0 to 1) spreads it.
        """
        if isinstance(outcome, httpx2.TransportError):
            again, asked = self.repeatable or isinstance(outcome, _NEVER_SENT), ""
        else:
            again = outcome.status_code in (_PASSING if self.repeatable else {_BUSY})
            asked = outcome.headers.get("retry-after", "")
        asked_s = int(asked) if asked.isascii() and asked.isdigit() else 0
        pause_s = asked_s + FIRST_PAUSE_S * 2 ** (tried - 1) * (1 + jitter) / 2
        return min(pause_s, MAX_PAUSE_S) if again else None

    def told(self, outcome: Outcome) -> str:
        """Name the request and what became of it, in a word."""
        if isinstance(outcome, httpx2.TransportError):
            return f"{self.method} {self.path}: {str(outcome) or type(outcome).__name__}"
        return f"{self.method} {self.path}: {outcome.status_code} {outcome.reason_phrase}"

    def conclude(self, outcome: Outcome) -> T:
        """Decode what came; ApiError for a refusal, UnreachableError when there was no answer."""
        if isinstance(outcome, httpx2.TransportError):
            raise UnreachableError(self.told(outcome)) from outcome
        try:
            if outcome.is_success:
                return msgspec.json.decode(outcome.content, type=self.into)
            problem = msgspec.json.decode(outcome.content, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = Problem(
                status=outcome.status_code,
                title=outcome.reason_phrase,
                detail=f"this is no answer of SignalStack: {outcome.text[:200]!r}",
            )
        raise ApiError(problem)
