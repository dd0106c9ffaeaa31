"""The job type `process_file`: reads a file behind a URL to its end, hashing and counting it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from signalstack.core.address import MAX_URL, check_url
from signalstack.core.errors import InvalidError
from signalstack.core.handler import Context, Fail, JobType, Retry
from signalstack.handlers.answer import judge
from signalstack.handlers.exchange import answered, ask
from signalstack.handlers.outbound import USER_AGENT, Outbound, TooSlowError, UnreachableError
from signalstack.handlers.pinned import BlockedError

if TYPE_CHECKING:
    from signalstack.core.stage import Observer

MAX_FILE_BYTES: Final = 1024**3
_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity", "user-agent": USER_AGENT}

Sha256 = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-fA-F]{64}(?![\s\S])",
        extra={"says": "must be a SHA-256 in hex: 64 of the digits 0 to 9 and a to f"},
    ),
]


class ProcessFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file, and the SHA-256 that it must have, in hex, when that is known."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL)]
    sha256: Sha256 | None = None

    def __post_init__(self) -> None:
        try:
            check_url(self.url, allow_private=True)
        except InvalidError as error:
            raise ValueError(f"url: {error.faults[0].detail}") from error


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The result; a last line without a line feed counts as a line."""

    bytes: int
    lines: int
    sha256: str
    content_type: str | None


def build(*, outbound: Outbound, observer: Observer, max_bytes: int = MAX_FILE_BYTES) -> JobType:
    """Make the job type.

    Args:
        outbound: what it reads through; holds the address rules. The job's timeout bounds it all.
        observer: is given a span for each download.
        max_bytes: a longer file fails its job.
    """

    async def run(payload: ProcessFile, context: Context) -> FileFacts:
        del context
        return await _process(outbound, observer, payload, max_bytes)

    return JobType(name="process_file", payload=ProcessFile, run=run, is_async=True)


class _Meter:
    """Measures what passes, and keeps none of it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._feeds = 0
        self._last = b"\n"
        self.size = 0

    def take(self, chunk: bytes) -> None:
        """Measure the next piece; Fail when the file gets too long."""
        if not chunk:
            return
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise Fail(f"the file is longer than {self._max_bytes:,} bytes")
        self._hash.update(chunk)
        self._feeds += chunk.count(b"\n")
        self._last = chunk[-1:]

    def facts(self, content_type: str | None) -> FileFacts:
        """Tell what was measured."""
        return FileFacts(
            bytes=self.size,
            lines=self._feeds + (self._last != b"\n"),
            sha256=self._hash.hexdigest(),
            content_type=content_type,
        )


async def _process(
    outbound: Outbound, observer: Observer, payload: ProcessFile, max_bytes: int
) -> FileFacts:
    meter = _Meter(max_bytes)
    try:
        to = outbound.destination(payload.url)
        with observer.span("download", "client", attributes=ask("GET", to)) as span:
            reply = await outbound.fetch(to, headers=_HEADERS, take=meter.take)
            answered(span, reply.status)
    except BlockedError as error:
        raise Fail(f"the URL is refused: {error}") from error
    except (TooSlowError, UnreachableError) as error:
        raise Retry(f"{error} (after {meter.size:,} bytes)") from error
    if error := judge(reply, datetime.now(UTC), who="the server").error:
        raise error
    facts = meter.facts(reply.headers.get("content-type"))
    if payload.sha256 is not None and facts.sha256 != payload.sha256.lower():
        raise Fail(f"the file's SHA-256 is {facts.sha256}, not {payload.sha256.lower()}")
    return facts
