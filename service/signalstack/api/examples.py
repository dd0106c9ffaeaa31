"""Examples of request bodies, one or more an operation; tests send every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signalstack.core.handler import Registry

_ENDPOINT: Final = "0198c0de-0000-7000-8000-00000000e001"
_CLOUD_EVENT: Final = {
    "specversion": "1.0",
    "id": "A-1001/paid",
    "source": "/shop/checkout",
    "type": "order.paid",
    "time": "2026-03-01T12:00:00Z",
    "datacontenttype": "application/json",
    "data": {"order": "A-1001", "amount": 1999, "currency": "EUR"},
}


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A body that an operation takes; `job_types` are those that must exist for it."""

    name: str
    summary: str
    value: object
    media: str = "application/json"
    job_types: frozenset[str] = frozenset()


def of(operation_id: str, registry: Registry) -> list[Example]:
    """List the examples of an operation that work with these job types."""
    return [
        example
        for example in EXAMPLES.get(operation_id, ())
        if example.job_types <= registry.keys()
    ]


def _job(type_: str, summary: str, payload: object, **rest: object) -> Example:
    return Example(
        name=type_,
        summary=summary,
        value={"type": type_, "payload": payload, **rest},
        job_types=frozenset({type_}),
    )


_JOBS: Final = (
    _job("noop", "Nothing, for a first try", None),
    _job(
        "send_webhook",
        "A signed webhook",
        {"endpoint_id": _ENDPOINT, "body": {"order": "A-1001", "status": "paid"}},
        max_attempts=8,
        idempotency_key="order-A-1001-paid",
    ),
    _job(
        "send_email",
        "An e-mail, a minute from now",
        {
            "to": "Ada Lovelace <ada@example.com>",
            "subject": "Your order A-1001",
            "text": "It is on its way.",
        },
        delay_s=60,
    ),
    _job(
        "process_payment",
        "A payment of 19.99 €, before others",
        {"amount": 1999, "currency": "EUR", "customer": "cus_42", "reference": "A-1001"},
        priority=10,
    ),
    _job(
        "generate_report",
        "A report on January",
        {"kind": "timeseries", "from": "2026-01-01", "to": "2026-01-31", "format": "csv"},
    ),
    _job(
        "send_message",
        "A text to a phone number, in ten minutes",
        {"phone_number": "+905551111111", "content": "Your table is ready."},
        queue="messages",
        delay_s=600,
    ),
    _job(
        "process_file",
        "A file, hashed and counted",
        {"url": "https://files.example.com/orders.csv"},
        timeout_s=300,
    ),
)

EXAMPLES: Final[Mapping[str, Sequence[Example]]] = {
    "receive_events": (
        Example(
            name="plain",
            summary="Plain JSON",
            value={
                "type": "order.paid",
                "payload": {"order": "A-1001", "amount": 1999, "currency": "EUR"},
                "source": "/shop/checkout",
                "subject": "A-1001",
            },
        ),
        Example(
            name="structured",
            summary="A CloudEvent",
            media="application/cloudevents+json",
            value=_CLOUD_EVENT,
        ),
        Example(
            name="batch",
            summary="Two CloudEvents",
            media="application/cloudevents-batch+json",
            value=[
                _CLOUD_EVENT | {"id": "A-1002/paid"},
                _CLOUD_EVENT | {"id": "A-1002/shipped", "type": "order.shipped"},
            ],
        ),
    ),
    "create_job": _JOBS,
    "create_jobs": (
        Example(
            name="two",
            summary="Two jobs, both or neither",
            value={"jobs": [{"type": "noop"}, {"type": "noop", "delay_s": 3600}]},
            job_types=frozenset({"noop"}),
        ),
    ),
    "amend_job": (
        Example(
            name="later",
            summary="Later, and before others of its queue",
            value={"run_at": "2030-01-01T09:00:00Z", "priority": 5},
        ),
    ),
    "create_message": (
        Example(
            name="message",
            summary="A text to a phone number",
            value={"phone_number": "+905551111111", "content": "Your order A-1001 is on its way."},
            job_types=frozenset({"send_message"}),
        ),
    ),
    "create_subscription": (
        Example(
            name="webhook",
            summary="A webhook for every large order that is paid",
            value={
                "name": "large orders",
                "event_type": "order.paid",
                "filter": {"amount": [{"numeric": [">=", 1000]}], "currency": ["EUR"]},
                "job": {
                    "type": "send_webhook",
                    "payload": {
                        "endpoint_id": _ENDPOINT,
                        "body": {"order": {"$": "payload.order"}, "event": {"$": "id"}},
                    },
                },
            },
            job_types=frozenset({"send_webhook"}),
        ),
        Example(
            name="all",
            summary="A job for every event of some types",
            value={"name": "orders", "event_type": "order.*", "job": {"type": "noop"}},
            job_types=frozenset({"noop"}),
        ),
    ),
    "change_subscription": (
        Example(name="pause", summary="Switch it off", value={"active": False}),
    ),
    "test_subscription": (
        Example(
            name="event",
            summary="What this event would become",
            value={"type": "order.paid", "payload": {"order": "A-1001", "amount": 1999}},
        ),
    ),
    "create_endpoint": (
        Example(
            name="endpoint",
            summary="Where webhooks go, with a header of its own",
            value={
                "name": "warehouse",
                "url": "https://warehouse.example.com/hooks",
                "headers": {"x-tenant": "acme"},
            },
        ),
    ),
    "change_endpoint": (
        Example(
            name="again",
            summary="Switch it on again, at another URL",
            value={"url": "https://warehouse.example.com/hooks/v2", "active": True},
        ),
    ),
    "rotate_secret": (
        Example(
            name="overlap",
            summary="Both secrets sign for an hour",
            value={"overlap_s": 3600},
        ),
    ),
    "create_schedule": (
        Example(
            name="report",
            summary="A report of every working day's morning, in Berlin",
            value={
                "name": "morning report",
                "cron": "0 7 * * MON-FRI",
                "timezone": "Europe/Berlin",
                "misfire": "once",
                "job": {
                    "type": "send_webhook",
                    "payload": {
                        "endpoint_id": _ENDPOINT,
                        "body": {"report": "orders", "due": {"$": "tick"}},
                    },
                },
            },
            job_types=frozenset({"send_webhook"}),
        ),
        Example(
            name="pace",
            summary="A job every thirty seconds",
            value={"name": "look", "cron": "@every 30s", "job": {"type": "noop"}},
            job_types=frozenset({"noop"}),
        ),
    ),
    "change_schedule": (
        Example(
            name="later",
            summary="At another time, in another zone",
            value={"cron": "30 8 * * MON-FRI", "timezone": "Europe/London"},
        ),
    ),
    "limit_queue": (
        Example(
            name="limits",
            summary="Ten at once, and a hundred a minute",
            value={"concurrency": 10, "rate": {"limit": 100, "per_s": 60}},
        ),
        Example(
            name="free", summary="No limits any more", value={"concurrency": None, "rate": None}
        ),
    ),
}
