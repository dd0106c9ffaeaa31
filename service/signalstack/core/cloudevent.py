"""CloudEvents 1.0 over HTTP: reading binary, structured and batched messages into our events.

What becomes of an event's parts:

- `id` is kept as `external_id`, `time` as `occurred_at`; `type`, `source` and `subject` as such.
- JSON data is the payload. Text (`text/*`, XML, or a type with a charset) is a JSON string; any
  other data is `{"data_base64": "…"}`. No data is null. It is the same in every mode.
- Extension attributes, `dataschema`, and a `datacontenttype` other than application/json are kept
  in `extensions`.

Sources: CloudEvents 1.0.2, its JSON event format and its HTTP protocol binding.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from signalstack.core.document import Json, canonical, check, decode, pointer_to
from signalstack.core.errors import Fault, InvalidError, MalformedError, UnsupportedMediaError
from signalstack.core.event import NewEvent
from signalstack.core.ids import new_id
from signalstack.core.pattern import MAX_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BATCH: Final = 1_000
MAX_ATTRIBUTE: Final = 1_000

_STRUCTURED: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
_PREFIX: Final = "ce-"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_CORE: Final = (*_REQUIRED, "subject", "time", "datacontenttype", "dataschema")
_LIMITS: Final = {"type": MAX_TYPE}
_INT32: Final = 2**31

_MEDIA: Final = re.compile(r"\s*([\w!#$&^.+-]+/[\w!#$&^.+-]+)\s*(?:;.*)?", re.ASCII | re.DOTALL)
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})
_NAME: Final = re.compile(r"[a-z0-9]+")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_HEADER: Final = re.compile(r"[\t\x20-\x7e]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


class Mode(StrEnum):
    """How a message carries its events (HTTP binding, 1.3)."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


def mode(content_type: str | None, headers: Mapping[str, str]) -> Mode | None:
    """Tell how a message carries CloudEvents; None when it is no CloudEvent.

    Args:
        content_type: the header's value with its parameters.
        headers: by lower-case name. One of the required `ce-` headers makes it binary mode, so that
            a sender who forgot another is told, and not taken for one of plain JSON.

    Raises:
        UnsupportedMediaError: CloudEvents in another format than JSON.
    """
    media = _media(content_type)
    if media == _STRUCTURED:
        return Mode.STRUCTURED
    if media == _BATCH:
        return Mode.BATCH
    if media.startswith("application/cloudevents"):
        raise UnsupportedMediaError(f"{media} is not read here; send {_STRUCTURED}")
    return Mode.BINARY if any(_PREFIX + name in headers for name in _REQUIRED) else None


def read(
    mode: Mode, content_type: str | None, headers: Mapping[str, str], body: bytes
) -> list[NewEvent]:
    """Read the events of a message, in order, each with a new id; a batch may be empty.

    Raises:
        MalformedError: the body is not what its type says, or a header cannot be decoded.
        InvalidError: an attribute is missing or wrong; the pointer ends in its name.
        UnsupportedMediaError: a charset that is not read here.
    """
    if mode is Mode.BINARY:
        return [_binary(content_type, headers, body)]
    _charset(content_type, only_utf8=True)
    value = decode(body)
    if mode is Mode.STRUCTURED:
        return [_structured(value, "")]
    if not isinstance(value, list) or len(value) > MAX_BATCH:
        raise InvalidError.at("", f"a batch is an array of at most {MAX_BATCH} events")
    return [_structured(item, f"/{index}") for index, item in enumerate(value)]


def _binary(content_type: str | None, headers: Mapping[str, str], body: bytes) -> NewEvent:
    attributes: dict[str, Json] = {
        name.removeprefix(_PREFIX): _header(name, value)
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    for name in ("data", "data_base64", "datacontenttype"):
        if name in attributes:
            raise InvalidError.at(pointer_to(name), f"must not be sent as a header {_PREFIX}{name}")
    if content_type:
        attributes["datacontenttype"] = content_type
    payload = _payload(body, content_type or "application/json") if body else None
    return _event(attributes, payload, "")


def _structured(value: Json, pointer: str) -> NewEvent:
    if not isinstance(value, dict):
        raise InvalidError.at(pointer, "a CloudEvent is an object")
    # Null stands for what is not set (JSON event format, 2.2).
    attributes = {name: item for name, item in value.items() if item is not None}
    payload = attributes.pop("data", None)
    encoded = attributes.pop("data_base64", None)
    if encoded is None:
        return _event(attributes, payload, pointer)
    if "data" in value:
        raise InvalidError.at(f"{pointer}/data_base64", "must not stand beside data")
    data = _base64(encoded, f"{pointer}/data_base64")
    content_type = attributes.get("datacontenttype")
    media = content_type if isinstance(content_type, str) else "application/octet-stream"
    return _event(attributes, _payload(data, media), pointer)


def _event(attributes: Mapping[str, Json], payload: Json, pointer: str) -> NewEvent:
    faults = [
        Fault(pointer=pointer + pointer_to(name), detail=detail)
        for name in dict.fromkeys([*_REQUIRED, *attributes])
        if (detail := _fault(name, attributes.get(name)))
    ]
    if faults:
        named = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:3])
        raise InvalidError(f"not a valid CloudEvent: {named}", *faults)
    texts = {name: item for name, item in attributes.items() if isinstance(item, str)}
    extensions = _extensions(attributes)
    return NewEvent(
        id=new_id(),
        type=texts["type"],
        payload=canonical(payload),
        source=texts["source"],
        subject=texts.get("subject"),
        external_id=texts["id"],
        occurred_at=_time(texts["time"]) if "time" in texts else None,
        extensions=canonical(extensions) if extensions else None,
    )


def _extensions(attributes: Mapping[str, Json]) -> dict[str, Json]:
    """Gather the attributes that an event has no field for."""
    kept = {name: item for name, item in attributes.items() if name not in _CORE}
    content_type = attributes.get("datacontenttype")
    if isinstance(content_type, str) and _media(content_type) != "application/json":
        kept["datacontenttype"] = content_type
    if "dataschema" in attributes:
        kept["dataschema"] = attributes["dataschema"]
    return kept


def _fault(name: str, value: Json) -> str | None:
    """Say what is wrong with an attribute."""
    if value is None:
        return "is required"
    if not _NAME.fullmatch(name):
        return "attribute names have lower-case letters a-z and digits only"
    if name not in _CORE:
        return _fault_of_extension(value)
    if not isinstance(value, str) or not value:
        return "must be a string that is not empty"
    is_right, rule = _RULES.get(name, (bool, ""))
    return _fault_of_text(value, _LIMITS.get(name, MAX_ATTRIBUTE)) if is_right(value) else rule


def _fault_of_extension(value: Json) -> str | None:
    if isinstance(value, str):
        return _fault_of_text(value, MAX_ATTRIBUTE)
    if isinstance(value, bool) or (isinstance(value, int) and -_INT32 <= value < _INT32):
        return None
    return "must be a string, a boolean, or an integer of 32 bits"


def _fault_of_text(value: str, limit: int) -> str | None:
    if len(value) > limit:
        return f"must not exceed {limit} characters"
    return "must not contain control characters" if _CONTROLS.search(value) else None


def _time(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return msgspec.convert(text.upper(), datetime).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None


def _payload(data: bytes, content_type: str) -> Json:
    media = _media(content_type)
    if media.endswith(("/json", "+json")):
        _charset(content_type, only_utf8=True)
        return decode(data)
    if (
        media.startswith("text/")
        or media.endswith(("/xml", "+xml"))
        or _CHARSET.search(content_type)
    ):
        charset = _charset(content_type, only_utf8=False)
        try:
            text = data.decode(charset)
        except UnicodeDecodeError:
            raise MalformedError(f"the data is not {charset}") from None
        check(text, "/data")
        return text
    return {"data_base64": base64.b64encode(data).decode()}


def _base64(encoded: Json, pointer: str) -> bytes:
    try:
        return base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError.at(pointer, "must be a string in base64") from None


def _media(content_type: str | None) -> str:
    match = _MEDIA.fullmatch(content_type or "")
    return match[1].lower() if match else ""


def _charset(content_type: str | None, *, only_utf8: bool) -> str:
    match = _CHARSET.search(content_type or "")
    charset = match[1].lower() if match else "utf-8"
    if charset not in _CHARSETS or (only_utf8 and not charset.startswith("utf")):
        raise UnsupportedMediaError(f"the charset {charset[:40]} is not read here; send utf-8")
    return charset


def _header(name: str, value: str) -> str:
    """Undo quotes, then one round of percent-encoding (HTTP binding, 3.1.3.2)."""
    if not _HEADER.fullmatch(value):
        raise MalformedError(f"the header {name} must percent-encode what is not ASCII")
    quoted = _QUOTED.fullmatch(value)
    plain = _QUOTED_PAIR.sub(r"\1", quoted[1]) if quoted else value
    try:
        return unquote_to_bytes(plain).decode()
    except UnicodeDecodeError:
        raise MalformedError(f"the header {name} is not percent-encoded UTF-8") from None


_RULES: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "specversion": (lambda value: value == "1.0", "must be 1.0"),
    "time": (_time, "must be a time by RFC 3339, such as 2026-03-01T12:00:00Z"),
    "datacontenttype": (_media, "must be a media type"),
}
