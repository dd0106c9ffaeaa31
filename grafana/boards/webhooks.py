"""What leaves the house: webhooks and text messages, and how their receivers answer."""

from __future__ import annotations

from typing import Final

from boards import link, variable
from boards.board import Board, Section
from boards.panel import JOBS_PER_S, PER_S, SECONDS, SHARE, Figure, Graph, HeatMap, says
from boards.query import Query, percentiles
from boards.series import PROCESS, SHARED, gained, highest, or_zero, quantile, rate, share
from boards.threshold import above, below, under

DELIVERIES: Final = "webhook_deliveries_total"
TIMES: Final = "webhook_duration_seconds"
MESSAGES: Final = "messages_total"
CACHE: Final = "message_cache_requests_total"
WAITING: Final = highest(
    "queue_depth", SHARED, 'queue="messages"', 'status=~"pending|paused|scheduled"', by="status"
)
FAILING: Final = (link.runbook("SignalStackWebhooksFailing"),)
UNSENT: Final = (link.runbook("SignalStackMessagesFailing"),)

TOP: Final = (
    (
        Figure(
            1,
            "Webhooks delivered",
            share(rate(DELIVERIES, PROCESS, 'outcome="delivered"'), rate(DELIVERIES)),
            says(
                "Share of deliveries that a receiver answered with 2xx; repeats count each time.",
                "above 99 %.",
                "see Deliveries by outcome for what the others were.",
            ),
            unit=SHARE,
            steps=above(0.9, 0.99),
            links=FAILING,
        ),
        Figure(
            2,
            "Delivery, p95",
            quantile(0.95, TIMES),
            says(
                "From connecting to the receiver's answer.",
                "below a second.",
                "a slow receiver holds a slot: ask it to answer first and work later.",
            ),
            unit=SECONDS,
            steps=below(1, 5),
        ),
        Figure(
            3,
            "Messages sent",
            share(rate(MESSAGES, PROCESS, 'outcome="sent"'), rate(MESSAGES)),
            says(
                "Share of attempts that the message gateway took.",
                "above 99 %.",
                "see Messages by outcome for what the others were.",
            ),
            unit=SHARE,
            steps=above(0.9, 0.99),
            links=UNSENT,
        ),
        Figure(
            4,
            "Messages that wait",
            f"sum({WAITING})",
            says(
                "Jobs of the queue `messages` that have not been sent.",
                "what MESSAGE_BATCH_SIZE and MESSAGE_INTERVAL let through in time.",
                "grows: raise the pace, or GET /v1/scheduler/status: sending may be stopped.",
            ),
            links=(link.board(link.QUEUES),),
        ),
    ),
)

OUT: Final = (
    (
        Graph(
            5,
            "Deliveries by outcome",
            [Query(rate(DELIVERIES, by="outcome"), "{{outcome}}")],
            says(
                "Deliveries a second.",
                "delivered.",
                "timeout, failed: a receiver is down or slow, it is tried again. rejected: its 4xx"
                " is final. gone: it said 410, is disabled. blocked: its address is not allowed.",
            ),
            unit=PER_S,
            stack="sum",
            links=FAILING,
        ),
        Graph(
            6,
            "Not delivered",
            [
                Query(
                    share(
                        or_zero(rate(DELIVERIES, PROCESS, 'outcome!="delivered"')),
                        rate(DELIVERIES),
                    ),
                    "not delivered",
                )
            ],
            says(
                "Share of deliveries that did not succeed.",
                "near 0.",
                "one receiver is behind it in most cases: GET /v1/endpoints shows which fails.",
            ),
            unit=SHARE,
            steps=under(0.1),
            links=FAILING,
        ),
        Graph(
            7,
            "Put off",
            [Query(or_zero(rate("webhook_postponed_total")), "put off")],
            says(
                "Deliveries put off by an endpoint's own rate, or by a receiver's Retry-After.",
                "0, or what the rates ask for.",
                "rising: more events than a receiver wants; raise its rate, or filter.",
            ),
            unit=PER_S,
        ),
    ),
    (
        HeatMap(
            8,
            "Time to deliver",
            rate(f"{TIMES}_bucket", by="le"),
            says(
                "How many deliveries took how long. Dots are traces: click one.",
                "one band.",
                "a band at REQUEST_TIMEOUT: receivers that never answer.",
            ),
        ),
        Graph(
            9,
            "Time to deliver",
            percentiles(TIMES),
            says(
                "From connecting to the receiver's answer.",
                "level.",
                "rises for all: our network or resolver. For few: their receiver.",
            ),
            unit=SECONDS,
        ),
        Graph(
            10,
            "Runs of send_webhook",
            [
                Query(
                    rate(
                        "job_duration_seconds_count", PROCESS, 'type="send_webhook"', by="outcome"
                    ),
                    "{{outcome}}",
                )
            ],
            says(
                "What the deliveries did to their jobs.",
                "succeeded.",
                "retried: tried again with growing pauses. failed: out of attempts, or final.",
            ),
            unit=JOBS_PER_S,
            stack="sum",
            links=(link.runbook("SignalStackRetryStorm"),),
        ),
    ),
)

TEXTS: Final = (
    (
        Graph(
            11,
            "Messages by outcome",
            [Query(rate(MESSAGES, by="outcome"), "{{outcome}}")],
            says(
                "Attempts to send a second.",
                "sent.",
                "rate_limited: lower the pace. rejected: the number or the key. timeout,"
                " connection: the gateway is away. invalid_response: it changed its answer.",
            ),
            unit=PER_S,
            stack="sum",
            links=UNSENT,
        ),
        Graph(
            12,
            "Messages sent, a range",
            [Query(gained(MESSAGES, PROCESS, 'outcome="sent"', over="5m"), "sent in 5 minutes")],
            says(
                "What the pace lets through.",
                "MESSAGE_BATCH_SIZE for each MESSAGE_INTERVAL, all workers together.",
                "0 while messages wait: sending is stopped, or nobody serves the queue.",
            ),
        ),
        Graph(
            13,
            "Cache of sent messages",
            [Query(rate(CACHE, by="outcome"), "{{outcome}}")],
            says(
                "Reads of one message, with Redis in front.",
                "hit.",
                "error: Redis is away; all goes on without it, /ready says so.",
            ),
            unit=PER_S,
        ),
        Figure(
            14,
            "Cache hits",
            share(rate(CACHE, PROCESS, 'outcome="hit"'), rate(CACHE)),
            says(
                "Share of reads that Redis answered.",
                "high when the same messages are read again; a dash without REDIS_URL.",
                "low: messages are read once, then the cache buys nothing.",
            ),
            unit=SHARE,
        ),
    ),
)

BOARD: Final = Board(
    uid=link.WEBHOOKS,
    description="How do receivers answer webhooks, and the gateway text messages?",
    variables=(variable.job, variable.instance),
    sections=(
        Section("", TOP),
        Section("Webhooks", OUT),
        Section("Messages", TEXTS),
    ),
)
