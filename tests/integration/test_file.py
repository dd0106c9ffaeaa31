"""What `process_file` says of a file, and what keeps it from reading one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from contexts import RunContext, Witness
from receiver import Answer, drip, hang, huge, raw, receiver, redirect, reply, reset
from signalstack.core.handler import Fail, Retry
from signalstack.handlers import file
from signalstack.handlers.file import MAX_FILE_BYTES, FileFacts, ProcessFile
from signalstack.handlers.outbound import open_outbound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from signalstack.handlers.pinned import Resolve

Process = Callable[..., Coroutine[Any, Any, FileFacts]]


@asynccontextmanager
async def processing(
    *,
    timeout_s: float = 5,
    grace_s: float = 30,
    allow_private: bool = True,
    max_bytes: int = MAX_FILE_BYTES,
    resolve: Resolve | None = None,
    witness: Witness | None = None,
) -> AsyncGenerator[Process]:
    async with open_outbound(
        timeout_s=timeout_s, grace_s=grace_s, allow_private=allow_private, resolve=resolve
    ) as outbound:
        run: Any = file.build(
            outbound=outbound, observer=witness or Witness(), max_bytes=max_bytes
        ).run

        async def process(url: str, **payload: Any) -> FileFacts:
            decoded = msgspec.convert({"url": url} | payload, ProcessFile)
            result = await run(decoded, RunContext())
            return msgspec.json.decode(msgspec.json.encode(result), type=FileFacts)

        yield process


@pytest.mark.parametrize(
    ("content", "lines"),
    [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\nb", 2), (b"a\nb\n", 2), (b"\n\n\n", 3), (b"\0\xff", 1)],
)
async def test_file_is_counted_and_hashed(content: bytes, lines: int) -> None:
    async with (
        receiver(reply(200, body=content, headers={"content-type": "text/csv"})) as r,
        processing() as process,
    ):
        facts = await process(r.url)

    assert facts == FileFacts(
        bytes=len(content),
        lines=lines,
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="text/csv",
    )
    assert r.requests[0].method == "GET"
    assert r.requests[0].headers["accept-encoding"] == "identity"


async def test_long_file_passes_piece_by_piece() -> None:
    async with receiver(huge(20_000_000)) as r, processing() as process:
        facts = await process(r.url)

    assert facts.bytes == 20_000_000
    assert facts.sha256 == hashlib.sha256(b"x" * 20_000_000).hexdigest()
    assert facts.content_type is None


@pytest.mark.parametrize("upper", [False, True])
async def test_hash_that_was_expected_is_fine(upper: bool) -> None:  # noqa: FBT001 - a case
    digest = hashlib.sha256(b"abc").hexdigest()
    async with receiver(reply(200, body=b"abc")) as r, processing() as process:
        facts = await process(r.url, sha256=digest.upper() if upper else digest)

    assert facts.sha256 == digest


async def test_another_hash_fails_the_job_and_tells_both() -> None:
    async with receiver(reply(200, body=b"abc")) as r, processing() as process:
        with pytest.raises(Fail, match=f"{hashlib.sha256(b'abc').hexdigest()}, not {'0' * 64}"):
            await process(r.url, sha256="0" * 64)


async def test_file_that_is_too_long_is_not_read_to_its_end() -> None:
    async with receiver(huge(50_000_000)) as r, processing(max_bytes=1_000_000) as process:
        with pytest.raises(Fail, match="longer than 1,000,000 bytes"):
            await process(r.url)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (reply(404), Fail, "the server answered 404"),
        (redirect("https://elsewhere.example/"), Fail, "redirects are not followed"),
        (reply(503, headers={"retry-after": "9"}), Retry, "the server answered 503"),
        (reset, Retry, "Connection reset by peer"),
        (hang, Retry, "no answer within 0.3 s"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Retry, r"\(after 3 bytes\)"),
        (
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            Retry,
            r"\(after 3 bytes\)",
        ),
    ],
)
async def test_what_is_no_whole_file_is_told(
    answer: Answer, error: type[Exception], says: str
) -> None:
    async with receiver(answer) as r, processing(timeout_s=0.3) as process:
        with pytest.raises(error, match=says):
            await process(r.url)


async def test_slow_file_is_read_as_long_as_it_comes() -> None:
    slow = drip(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n" + b"x" * 30, every_s=0.02)
    async with receiver(slow) as r, processing(timeout_s=1) as process:
        assert (await process(r.url)).bytes == 30


async def test_file_that_drips_is_given_up() -> None:
    slow = drip(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n" + b"x" * 30, every_s=0.02)
    async with receiver(slow) as r, processing(grace_s=0) as process:
        with pytest.raises(Retry, match=r"less than 1,024 bytes a second \(after \d+ bytes\)"):
            await process(r.url)


async def test_file_that_stalls_midway_is_tried_again() -> None:
    async def stall(exchange: Any) -> None:
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await exchange.stream.receive()

    async with receiver(stall) as r, processing(timeout_s=0.3) as process:
        with pytest.raises(Retry, match=r"no answer within 0.3 s \(after 3 bytes\)"):
            await process(r.url)


async def test_connection_is_given_back_whatever_happened() -> None:
    answers = (reply(404, body=b"x" * 100_000), huge(5_000_000), reply(200, body=b"abc"))
    async with receiver(*answers) as r, processing(max_bytes=1_000) as process:
        for _ in range(2):
            with pytest.raises(Fail):
                await process(r.url)
        assert (await process(r.url)).bytes == 3


async def test_cancelled_reading_ends_at_once() -> None:
    async with receiver(hang) as r, processing(timeout_s=60) as process:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(process, r.url)
                await r.wait_for(1)
                tasks.cancel_scope.cancel()


async def test_private_address_is_blocked_and_named() -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return ["169.254.169.254"]

    async with processing(allow_private=False, resolve=lookup) as process:
        with pytest.raises(Fail, match=r"the URL is refused: .*169\.254\.169\.254 is link-local"):
            await process("http://files.example.com/a.csv")
        with pytest.raises(Fail, match=r"127\.0\.0\.1 is loopback"):
            await process("http://127.0.0.1/a.csv")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"url": "file:///etc/passwd"}, "url: must begin with https"),
        ({"url": "https://u:p@a.example/"}, "url: must not carry"),
        ({"url": ""}, r"at `\$.url`"),
        ({"url": "https://a.example/", "sha256": "abc"}, r"at `\$.sha256`"),
        ({"url": "https://a.example/", "sha256": "0" * 64 + "\n"}, r"at `\$.sha256`"),
        ({"url": "https://a.example/", "md5": "0"}, "unknown field `md5`"),
    ],
)
def test_payload_that_names_no_file_is_refused(payload: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(payload, ProcessFile)


async def test_a_download_is_a_span_that_shows_no_path() -> None:
    witness = Witness()
    async with receiver(reply(404)) as r, processing(witness=witness) as process:
        with pytest.raises(Fail):
            await process(f"{r.url}?token=s3cret")

        (request,) = r.requests
    (span,) = witness.spans
    assert (span.name, span.kind) == ("download", "client")
    assert span.attributes["http.request.method"] == "GET"
    assert span.attributes["http.response.status_code"] == 404
    assert span.failure == "answered 404"
    assert "s3cret" not in str(span.attributes)
    assert "traceparent" not in request.headers  # whose server that is, a tenant said
