"""An endpoint as its owner configures and sees it; its secret is shown only when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from signalstack.core.subscription import Name

MAX_RATE = 1_000_000
MAX_RATE_PERIOD_S = 86_400.0


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` in `per_s` seconds, and up to `burst` at once."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_RATE)]
    per_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE_PERIOD_S)] = 1.0
    burst: Annotated[int, msgspec.Meta(ge=1, le=MAX_RATE)] | None = None


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller asks for: the body of `POST /v1/endpoints`."""

    name: Name
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
    headers: dict[str, str] = {}
    rate: Rate | None = None
    active: bool = True


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it; `rate` is JSON null when there is none."""

    id: UUID
    name: str
    url: str
    headers: msgspec.Raw
    rate: msgspec.Raw
    active: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


class CreatedEndpoint(Endpoint, frozen=True, kw_only=True):
    """A new endpoint with its secret: the only time that it is shown."""

    secret: str
