"""How long a caller wants to wait for a job's end: `Prefer: wait=N` (RFC 7240) and `?wait=N`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from signalstack.core.errors import MalformedError

if TYPE_CHECKING:
    from signalstack.api.headers import Headers
    from signalstack.api.operation import Call

MAX_WAIT_S: Final = 60
# A preference with its value and parameters; quoted strings may hold commas. All of it possessive:
# what was read is not read again, or 16 KB of spaces would take seconds.
_PREFERENCE: Final = re.compile(
    r"""
    [\s,]*+(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]++)
    (?:\s*+=\s*+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<token>[^\s",;]*+)))?+
    (?:\s*+;(?:"(?:[^"\\]|\\.)*+"|[^",])*+)?+
    \s*+(?:,|$)
    """,
    re.VERBOSE,
)
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


class WaitQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many seconds to wait for a terminal status; 0 answers at once."""

    wait: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=MAX_WAIT_S, description="How many seconds to wait for the job's end."
        ),
    ] = 0


def preferred_s(headers: Headers) -> int:
    """Read the seconds of `Prefer: wait=N`, 0 where there are none; other preferences are ignored.

    Raises:
        MalformedError: N is no whole number up to MAX_WAIT_S.
    """
    given = headers.get("prefer")
    if given is None:
        return 0
    position = 0
    while match := _PREFERENCE.match(given, position):
        if match["name"].lower() == "wait":  # the first one counts (RFC 7240, 2)
            return _seconds(match["quoted"] if match["token"] is None else match["token"])
        position = match.end()
    return 0


def by_header(call: Call[Any, Any]) -> float:
    """Tell how long a call may take since it prefers to wait."""
    return preferred_s(call.exchange.headers)


def by_query(call: Call[Any, WaitQuery]) -> float:
    """Tell how long a call may take since its query asks to wait."""
    return call.query.wait


def applied(seconds: int) -> tuple[bytes, bytes]:
    """Say in a header that the preference was honoured."""
    return (b"preference-applied", f"wait={seconds}".encode("ascii"))


def _seconds(text: str | None) -> int:
    if text is None or not _DIGITS.fullmatch(text) or int(text) > MAX_WAIT_S:
        raise MalformedError(f"Prefer: wait must be a whole number of seconds up to {MAX_WAIT_S}")
    return int(text)
