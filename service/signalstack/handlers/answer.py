"""What the answer to a delivery means: done, gone, refused for good, or try again and when."""

from __future__ import annotations

import codecs
import http
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from signalstack.core.handler import Fail, Retry
from signalstack.core.stage import Delivered

if TYPE_CHECKING:
    from datetime import datetime

    from signalstack.handlers.outbound import Reply

MAX_RETRY_AFTER_S: Final = 3_600.0
EXCERPT_BYTES: Final = 1_024

_PASSING: Final = frozenset(
    {
        http.HTTPStatus.REQUEST_TIMEOUT,
        http.HTTPStatus.TOO_EARLY,
        http.HTTPStatus.TOO_MANY_REQUESTS,
    }
)

# With Retry-After, these speak of the receiver as a whole and not of the one request.
_HOLDING: Final = frozenset(
    {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE}
)


class Verdict(NamedTuple):
    """What became of a delivery, and what its job has to do; an error of None means it is done.

    `hold_s` is for how long the receiver wants nothing at all, where it said so.
    """

    fact: Delivered
    error: Fail | Retry | None
    hold_s: float | None = None


def judge(reply: Reply, now: datetime, *, who: str = "the receiver") -> Verdict:
    """Say what an answer means for the delivery and its job; `who` gave it."""
    said = f"{who} answered {_status(reply.status)}"
    match reply.status:
        case status if 200 <= status < 300:  # noqa: PLR2004 - the class of success
            return Verdict(Delivered(outcome="delivered"), None)
        case http.HTTPStatus.GONE:
            return Verdict(Delivered(outcome="gone"), Fail(said))
        case status if 300 <= status < 400:  # noqa: PLR2004 - the class of redirection
            final = f"{said}: redirects are not followed, the URL must be the final one"
            return Verdict(Delivered(outcome="rejected"), Fail(final))
        case status if status in _PASSING or status >= 500:  # noqa: PLR2004 - the server's fault
            after_s = retry_after(reply.headers.get("retry-after"), now)
            hold_s = after_s if status in _HOLDING else None
            return Verdict(Delivered(outcome="failed"), Retry(said, after_s=after_s), hold_s)
        case _:
            return Verdict(Delivered(outcome="rejected"), Fail(said))


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3) as seconds, at most an hour.

    None, the usual backoff, when it is absent, unreadable, or asks for no wait at all.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # the latter of a year or a zone beyond all reckoning
            return None
        # A date without a zone is UTC: HTTP knows no other.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (aware - now).total_seconds()
    return min(seconds, MAX_RETRY_AFTER_S) if seconds > 0 else None


def excerpt(body: bytes) -> str | None:
    """Cut the first KiB of a reply as text; None when it is not printable UTF-8."""
    try:
        # Incremental, so that a character cut in half at the end is dropped and no error.
        text = codecs.getincrementaldecoder("utf-8")().decode(body[:EXCERPT_BYTES])
    except UnicodeDecodeError:
        return None
    printable = all(char.isprintable() or char in "\t\r\n" for char in text)
    return text if printable else None


def _status(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
