"""A CloudEvent in JSON as senders see it; what reads it, by all rules, is `core.cloudevent`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from signalstack.core.cloudevent import MAX_ATTRIBUTE
from signalstack.core.pattern import MAX_TYPE

_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f]+(?![\s\S])"
_TEXT: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
_MEDIA: Final = (
    r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( *;[^\x00-\x1f\x7f-\x9f]*)?(?![\s\S])"
)
_BASE64: Final = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?(?![\s\S])"

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ATTRIBUTE, pattern=_LINE)]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent 1.0 in its JSON event format; `source` and `id` identify repeats.

    Any further member is an extension attribute, and kept with the event.
    """

    json_schema: ClassVar[dict[str, Any]] = {
        "propertyNames": {"pattern": "^([a-z0-9]+|data_base64)$"},
        "additionalProperties": {
            "type": ["string", "boolean", "integer", "null"],
            "maxLength": MAX_ATTRIBUTE,
            "pattern": _TEXT,
            "minimum": -(2**31),
            "maximum": 2**31 - 1,
        },
        "not": {"required": ["data", "data_base64"]},
    }

    specversion: Literal["1.0"]
    id: Line
    source: Line
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TYPE, pattern=_LINE)]
    subject: Line | None = None
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    datacontenttype: (
        Annotated[str, msgspec.Meta(max_length=MAX_ATTRIBUTE, pattern=_MEDIA)] | None
    ) = None
    dataschema: Line | None = None
    data: Any = None
    data_base64: Annotated[str, msgspec.Meta(pattern=_BASE64)] | None = None
