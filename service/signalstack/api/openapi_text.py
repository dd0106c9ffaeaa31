"""What an OpenAPI document says in prose: the introduction, and what tags and headers mean."""

from __future__ import annotations

from typing import Final

INTRODUCTION: Final = """\
Send events or create jobs; SignalStack keeps them in PostgreSQL and starts the work at once.

**Promise.** A 2xx means that the event or job is committed. Work is attempted at least once, until
it succeeds, is cancelled, or runs out of attempts; then it is kept as `failed` and can be retried.
A handler may run more than once: each run carries the job's id and the number of the attempt.
Exactly one terminal outcome is recorded.

**Keys.** Every call but those of `service` needs an API key, as `Authorization: Bearer <key>` or
`X-API-Key: <key>`. It belongs to one tenant and has some of the scopes `read`, `write` and `admin`;
`admin` includes the others. Another tenant's id is 404, as an unknown one.

**Paths.** All operations below `/v1` also answer without that prefix.

**JSON.** Bodies are JSON in UTF-8. A field that is not known is refused (422), as are integers
beyond 64 bits, numbers beyond a double, U+0000, and more than 64 levels; a key that occurs twice is
malformed (400). Times are RFC 3339 and answered in UTC; ids are UUIDs of version 7.

**Lists** come in pages. While `next_cursor` is not null, ask again with it as `cursor` and the same
filters.

**Errors** are problem details (RFC 9457, `application/problem+json`); those that concern the body
point at what is wrong.

**Tracing.** Every answer has an `X-Request-ID`: the one of the request, when it is 1 to 128 of
`A-Z a-z 0-9 . _ -`, or a new one. A W3C `traceparent` is continued, through the job to the webhook.
"""

TAGS: Final = {
    "events": "What happened. Subscriptions turn events into jobs, in the same transaction.",
    "jobs": "Units of work, from creation to their one outcome.",
    "subscriptions": "Which events become which jobs.",
    "endpoints": "Where webhooks go, with the secrets that sign them.",
    "schedules": "Which jobs are made when: by a cron expression, or at an even pace.",
    "queues": "How work waits, and how much of it may run at once or in time.",
    "messages": "Texts to phone numbers, sent by the operator's receiver at the operator's pace.",
    "scheduler": "The sending of messages: started and stopped, and how it gets on.",
    "analytics": "What happened, counted by the hour and the day.",
    "service": "The process itself; no key is asked for.",
}

REQUEST_HEADERS: Final = {
    "Idempotency-Key": (
        (
            "1 to 255 visible ASCII characters. The same key and body within 24 hours answers 200 "
            "with what the first request made; the same key with another body is 422, and 409 when "
            "what it made was deleted since."
        ),
        "order-A-1001-paid",
    ),
    "Prefer": (
        (
            "`wait=N` waits up to N seconds, 60 at most, for the job's end; other preferences are "
            "ignored (RFC 7240)."
        ),
        "wait=1",
    ),
    "Last-Event-ID": ("The id of the last event seen: only later ones are told.", "1-running"),
    "If-None-Match": (
        "An `ETag` that was answered before: 304 while nothing has changed.",
        '"8bc7eef7e7ebc084"',
    ),
}

HEADERS: Final = {
    "X-Request-ID": "Names this request, in our logs as well.",
    "Location": "The path of what was made or found.",
    "Idempotent-Replayed": "`true` when an earlier request with this key made it.",
    "Preference-Applied": "`wait=N` when the answer waited for the job's end.",
    "RateLimit": "How many requests the key has left, and seconds until it has all of them again; "
    "only where a limit is set.",
    "RateLimit-Policy": "How many requests a key may make in how many seconds; only where a limit "
    "is set.",
    "Retry-After": "After how many seconds to try again.",
    "WWW-Authenticate": "How to send a key.",
    "Allow": "The methods that the path knows.",
    "ETag": "Changes whenever the content does.",
}
