"""Verifying that a webhook came from SignalStack, by Standard Webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from signalstack.client.answers import WebhookError
from signalstack.core.signature import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def verify_webhook(secret: str | Sequence[str], headers: Mapping[str, str], body: bytes) -> Any:
    """Check a webhook against its endpoint's secret, or several while one is being replaced.

    `body` is exactly the bytes that came, before any decoding; what they decode to is returned.

    Raises:
        WebhookError: no secret signed it, or not within the last five minutes, or it is no JSON.
        ValueError: a secret is malformed, or there is none; whatever came.
    """
    secrets = [secret] if isinstance(secret, str) else secret
    if not verify(secrets, headers, body, now=datetime.now(UTC)):
        raise WebhookError("the webhook's signature or timestamp is not valid")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise WebhookError(f"the webhook's body is no JSON: {error}") from None
