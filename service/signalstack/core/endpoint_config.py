"""An endpoint as its owner configures and sees it; its secret is shown only when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from signalstack.core.line import Line

MAX_RATE: Final = 1_000_000
# Shorter ones overflow a double when a limit is divided by them, and mean nothing.
MIN_RATE_PERIOD_S: Final = 0.001
MAX_RATE_PERIOD_S: Final = 86_400.0
DEFAULT_OVERLAP_S: Final = 86_400.0
MAX_OVERLAP_S: Final = 7 * 86_400.0

Url = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=2_048,
        description="http or https, to a public address.",
        extra_json_schema={"format": "uri"},
    ),
]


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` in `per_s` seconds, and up to `burst` (by default `limit`) at once."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_RATE)]
    per_s: Annotated[float, msgspec.Meta(ge=MIN_RATE_PERIOD_S, le=MAX_RATE_PERIOD_S)] = 1.0
    burst: Annotated[int, msgspec.Meta(ge=1, le=MAX_RATE)] | None = None


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller asks for: the body of `POST /v1/endpoints`.

    `rate` holds across all workers. A delivery that finds it used up is put off, which uses up no
    attempt: its job is `scheduled` until its turn comes.
    """

    name: Line
    url: Url
    headers: dict[str, str] = {}
    rate: Rate | None = None
    active: bool = True


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PATCH /v1/endpoints/{id}`: what is not named stays.

    `active: true` also forgets why the endpoint was switched off, and how long it has failed. A
    new `rate` begins with a full bucket; null takes it away.
    """

    name: Line | msgspec.UnsetType = msgspec.UNSET
    url: Url | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    rate: Rate | msgspec.UnsetType | None = msgspec.UNSET
    active: bool | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/endpoints/{id}/rotate-secret`, which may be empty.

    For `overlap_s` seconds deliveries are signed with the old secret as well.
    """

    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_OVERLAP_S)] = DEFAULT_OVERLAP_S


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it; `rate` has the burst that holds, or is JSON null.

    `failing_since` is when the first of the last deliveries failed that all did. `held_until` is
    when the receiver last said to come back (429 or 503 with `Retry-After`); until then deliveries
    are put off.
    """

    id: UUID
    name: str
    url: str
    headers: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": dict[str, str]})]
    rate: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": Rate | None})]
    active: bool
    disabled_reason: str | None
    failing_since: datetime | None
    held_until: datetime | None
    created_at: datetime
    updated_at: datetime


class CreatedEndpoint(Endpoint, frozen=True, kw_only=True):
    """A new endpoint with its secret: the only time that it is shown."""

    secret: str


class RotatedEndpoint(CreatedEndpoint, frozen=True, kw_only=True):
    """An endpoint with its new secret, shown this once; the old one signs as well until then."""

    previous_secret_until: datetime | None
