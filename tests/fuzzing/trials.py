"""What must hold of each decoder, whatever it is given.

A trial returns True when the input was taken and False when it was refused in the way that is
meant for it; anything else, an exception of another kind above all, is a finding.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx2
import msgspec

from fuzzing.inputs import TOKEN
from signalstack.api import auth, body, codec, headers, idempotency, target, waiting
from signalstack.client import WebhookError, verify_webhook
from signalstack.core import address, cadence, cloudevent, document, duration, endpoint, mail
from signalstack.core.budget import Budget, CostError
from signalstack.core.cursor import Cursors
from signalstack.core.errors import InvalidError, MalformedError, SignalStackError
from signalstack.core.key import parse_key
from signalstack.core.pattern import compile_filter
from signalstack.core.signature import new_secret
from signalstack.core.template import compile_template, render
from signalstack.store import invitations

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.core.document import Json

_TENANT: Final = UUID(int=1)
_NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
_CURSORS: Final = Cursors(b"k" * 32)
_SECRET: Final = new_secret()


def decode_document(data: bytes) -> bool:
    try:
        value = document.decode(data)
    except SignalStackError as error:
        return refused(error)
    kept = document.canonical(value)
    assert document.decode(kept) == value
    assert document.canonical(document.decode(kept)) == kept
    document.check(value)
    return True


def decode_struct(struct: Any) -> Callable[[bytes], bool]:
    def trial(data: bytes) -> bool:
        try:
            found = codec.decode(data, struct)
        except SignalStackError as error:
            return refused(error)
        again = codec.canonical(found)
        assert codec.canonical(codec.decode(again, struct)) == again
        return True

    return trial


def read_query(struct: Any) -> Callable[[str], bool]:
    def trial(text: str) -> bool:
        try:
            codec.read_query(text.encode(errors="replace"), struct)
        except MalformedError as error:
            return refused(error)
        return True

    return trial


def read_cloudevent(given: tuple[cloudevent.Mode, str, dict[str, str], bytes]) -> bool:
    try:
        events = cloudevent.read(*given)
    except SignalStackError as error:
        return refused(error)
    for event in events:
        assert document.canonical(document.decode(event.payload)) == event.payload
        assert event.type
        assert event.type.isprintable() or not event.type.isascii()
    return True


def match(given: tuple[Json, Json]) -> bool:
    try:
        accepts = compile_filter(given[0])
    except InvalidError as error:
        return refused(error, "/filter")
    try:
        assert accepts(given[1], Budget()) in (True, False)
    except CostError:
        return False
    return True


def fill_in(given: tuple[Json, Json]) -> bool:
    try:
        outcome = render(compile_template(given[0]), {"type": "t", "payload": given[1]}, Budget())
    except InvalidError as error:
        return refused(error, "/job/payload")
    document.check(outcome)
    return True


def unseal(text: str) -> bool:
    try:
        _CURSORS.unseal(text, user_id=_TENANT, scope=b"jobs")
    except MalformedError as error:
        return refused(error)
    raise AssertionError("a cursor was forged")


def read_key(text: str) -> bool:
    parsed = parse_key(text)
    assert (parsed is not None) == (text == TOKEN)
    return parsed is not None


def read_duration(text: str) -> bool:
    try:
        seconds = duration.parse_duration(text)
    except ValueError:
        return False
    assert 0 <= seconds < float("inf")
    assert (
        abs(duration.parse_duration(duration.format_duration(seconds)) - seconds) < 1e-6 + seconds
    )
    return True


def read_cadence(given: tuple[str, str]) -> bool:
    try:
        parsed = cadence.parse_cadence(*given, anchor=_NOW)
    except InvalidError as error:
        return refused(error)
    ticks = cadence.upcoming(parsed, _NOW)
    assert ticks == sorted(set(ticks))
    assert all(tick > _NOW for tick in ticks)
    return True


def read_headers(given: dict[str, str]) -> bool:
    """Read all that is read of a request's headers, as the edge does."""
    raw = [
        (k.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for k, v in given.items()
    ]
    folded = headers.fold(raw)
    assert headers.REQUEST_ID.fullmatch(headers.request_id(folded))
    assert len(headers.traceparent(folded) or "x" * 55) == 55
    try:
        headers.refuse_unsound(raw)
        headers.refuse_ambiguous(raw, folded)
        assert 0 <= waiting.preferred_s(folded) <= waiting.MAX_WAIT_S
        assert 1 <= len(idempotency.key_of(folded) or "x") <= 255
        body.check_media(folded, ("application/json",))
        auth.token(folded)
    except SignalStackError as error:
        return refused(error)
    return True


def read_target(text: str) -> bool:
    raw, _, query = text.encode(errors="replace").partition(b"?")
    try:
        target.check({"http_version": "1.1", "raw_path": raw, "query_string": query}, {})
    except SignalStackError as error:
        return refused(error)
    assert raw.startswith(b"/")
    return True


def read_url(text: str) -> bool:
    try:
        found = address.check_url(text, allow_private=False)
    except InvalidError as error:
        return refused(error, "/url")
    # Another parser must see the same host and port, or the check was of something else.
    other = httpx2.URL(text)
    assert (other.scheme, other.host) == (found.scheme, found.host)
    assert (other.port or {"http": 80, "https": 443}[other.scheme]) == found.port
    return True


def read_ip(text: str) -> bool:
    return address.check_ip(text) is None


def read_endpoint_headers(given: dict[str, str]) -> bool:
    try:
        endpoint.check_headers(given)
    except ValueError:
        return False
    assert all(
        "\n" not in name + value and "\r" not in name + value for name, value in given.items()
    )
    return True


def read_webhook(given: tuple[dict[str, str], bytes]) -> bool:
    try:
        verify_webhook(_SECRET, *given)
    except WebhookError:
        return False
    raise AssertionError("a webhook was forged")


def read_mailbox(text: str) -> bool:
    try:
        found = mail.read_mailbox(text)
    except ValueError:
        return False
    assert not set("\r\n\0") & set("".join(map(str, found)))
    return True


def read_bell(text: str) -> bool:
    lease = invitations.read_bell(text)
    if lease is None:
        return False
    assert len(lease.id) == len(lease.user_id) == len(UUID(int=0).bytes)
    assert lease.attempt == 1
    return True


def refused(error: Exception, below: str = "") -> bool:
    """Check that a refusal is one of ours, in words, and points somewhere; and return False."""
    assert isinstance(error, SignalStackError)
    assert str(error)
    faults = error.faults if isinstance(error, InvalidError | MalformedError) else ()
    for fault in faults:
        assert fault.pointer == "" or fault.pointer.startswith("/")
        assert fault.pointer.startswith(below)
        msgspec.json.encode(fault)  # also with the caller's own words in it
    return False
