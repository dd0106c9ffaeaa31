"""The Python client: jobs and events over HTTP, blocking or async, and webhooks verified."""

from signalstack.client.answers import (
    ApiError,
    ClientError,
    Fault,
    Job,
    JobRef,
    Problem,
    ReceivedEvent,
    UnreachableError,
    WebhookError,
)
from signalstack.client.clients import AsyncClient, Client
from signalstack.client.operations import JobFilter, JobOptions, JobRequest
from signalstack.client.webhooks import verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Fault",
    "Job",
    "JobFilter",
    "JobOptions",
    "JobRef",
    "JobRequest",
    "Problem",
    "ReceivedEvent",
    "UnreachableError",
    "WebhookError",
    "verify_webhook",
]
