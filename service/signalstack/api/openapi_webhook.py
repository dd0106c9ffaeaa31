"""What we send, rather than what is sent to us: webhooks, for an OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signalstack.api.openapi_schema import Node

_DESCRIPTION: Final = """\
A job of the type `send_webhook` sends one POST request to its endpoint, or to its URL. Deliveries
to an endpoint are signed by [Standard Webhooks](https://www.standardwebhooks.com), so any library
of that standard verifies them: the signed content is `{webhook-id}.{webhook-timestamp}.{body}`, and
the key is what follows `whsec_` in the endpoint's secret, in base64. Deliveries to a bare URL are
not signed.

Delivery is at least once. The `webhook-id` is the job's id and stays the same in every attempt:
remember it to drop repeats. Refuse what carries a `webhook-timestamp` older than five minutes.
Redirects are never followed.
"""

_HEADERS: Final = {
    "webhook-id": ("The job's id: the same in every attempt.", "uuid", True),
    "webhook-timestamp": ("When this attempt was made, in Unix seconds.", None, True),
    "webhook-signature": (
        (
            "`v1,` and the HMAC-SHA256 in base64. While a secret is being rotated there are two, "
            "apart by a space: accept the delivery when any one is right. Missing on deliveries "
            "to a URL."
        ),
        None,
        False,
    ),
    "webhook-attempt": ("1 on the first attempt.", None, True),
    "traceparent": ("W3C Trace Context: continue the trace that the event began.", None, False),
}

_ANSWERS: Final = {
    "2XX": "Taken: the job has succeeded.",
    "3XX": "Refused for good: the job fails, for the endpoint's URL must be the final one.",
    "4XX": "Refused for good: the job fails.",
    "408": "Tried again, with backoff.",
    "410": "The receiver is gone: the job fails and the endpoint is switched off.",
    "425": "Tried again, with backoff.",
    "429": "Tried again: after `Retry-After`, up to an hour, or else with backoff.",
    "5XX": "Tried again: after `Retry-After`, up to an hour, or else with backoff. So is what does "
    "not answer in time, or cannot be reached. An endpoint that fails for days is switched off.",
}


def webhooks() -> dict[str, Node]:
    """Describe the requests that receivers of webhooks get."""
    operation: Node = {
        "operationId": "delivery",
        "summary": "A webhook, as your endpoint receives it",
        "description": _DESCRIPTION,
        "tags": ["endpoints"],
        "security": [],
        "parameters": [_header(name, *told) for name, told in _HEADERS.items()],
        "requestBody": {
            "description": "The `body` of the job's payload, as JSON: any value.",
            "required": True,
            "content": {
                "application/json": {
                    "schema": {},
                    "example": {"order": "A-1001", "status": "paid"},
                }
            },
        },
        "responses": {
            status: {"description": description} for status, description in _ANSWERS.items()
        },
    }
    return {"delivery": {"post": operation}}


def _header(name: str, description: str, form: str | None, required: bool) -> Node:  # noqa: FBT001 - a row of the table above
    schema: Node = {"type": "string", **({"format": form} if form else {})}
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
    }
