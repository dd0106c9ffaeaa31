"""An event: something that happened, as the sender told it and as it is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was accepted and is not stored yet; its payload is canonical JSON.

    `external_id` is the sender's own `id`; with `source` it identifies repeats (CloudEvents 1.0,
    3.1.1). `extensions` is a JSON object of CloudEvents attributes beyond the core ones.
    """

    id: UUID
    type: str
    payload: bytes = b"null"
    source: str | None = None
    subject: str | None = None
    external_id: str | None = None
    occurred_at: datetime | None = None
    extensions: bytes | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as callers see it, and as patterns and templates read it."""

    id: UUID
    type: str
    payload: msgspec.Raw
    source: str | None
    subject: str | None
    external_id: str | None
    occurred_at: datetime | None
    # JSON null when there are none: msgspec cannot decode `Raw | None`.
    extensions: Annotated[msgspec.Raw, msgspec.Meta(extra={"holds": dict[str, Any] | None})]
    created_at: datetime
