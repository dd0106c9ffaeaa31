"""What each metric means and what to do when it is bad: the HELP texts of `/metrics`."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "signalstack_"

MEANINGS: Final = {
    "http_request_duration_seconds": (
        "Seconds from a request to the end of its answer, waits that the client asked for included."
        " Slow on every route: look at db_query_duration_seconds and at the CPU."
    ),
    "events_received_total": (
        "Events taken in, by outcome. Many rejected: a sender changed its format."
        " Many duplicate: a sender repeats itself, look for timeouts on its side."
    ),
    "jobs_enqueued_total": (
        "Jobs committed by this process; those that SQL enqueues are nobody's (see /v1/analytics)."
        " Faster than jobs_finished_total for long: the backlog grows, add workers."
    ),
    "jobs_finished_total": (
        "Jobs that ended, by the outcome that is recorded, each told once by the process that"
        " recorded it: the worker of the last run, the API that cancelled a waiting job, whoever"
        " gave up a dead worker's. Many failed: ask GET /v1/jobs?status=failed for their"
        " last_error."
    ),
    "job_retries_total": (
        "Runs of which it is recorded that they will be tried again. Many of one type: what it"
        " calls is down or refuses."
    ),
    "dispatch_latency_seconds": (
        "Seconds from a job being due to its handler starting, by what woke the worker. High under"
        " backlog: too few slots, or limits and pauses of the queue. A rising share of poll:"
        " notifications get lost, see listener_up."
    ),
    "wakeups_total": (
        "Times the claimer woke, by cause: notify, backlog, poll, or timer, which also stands for"
        " retries that are due. No notify while jobs come in: the listener is deaf."
    ),
    "claims_total": (
        "Claims, by whether they found work. Mostly empty: more workers wake than the work needs."
    ),
    "handovers_total": (
        "Jobs that whoever stored them handed to this worker as it was at rest, so that nobody had"
        " to claim them. Any lost: their bell was not heard, and they started seconds late."
    ),
    "claimed_jobs_total": (
        "Jobs claimed or handed over, by what woke the worker for them. A rising share of poll:"
        " notifications get lost, see listener_mode. Much retry: see job_retries_total. Any rescue:"
        " workers died."
    ),
    "claim_batch_size": (
        "Jobs taken by a claim that found some. Always at its limit: the worker is saturated."
    ),
    "claim_duration_seconds": (
        "Seconds a claim took. High: PostgreSQL is busy, or the ready index is bloated."
    ),
    "flush_batch_size": (
        "Writes committed together. Always 1 under load: callers come one after the other."
    ),
    "flush_duration_seconds": (
        "Seconds to commit a group of writes. High: the disk under PostgreSQL's WAL is slow."
    ),
    "job_duration_seconds": (
        "Seconds a handler ran, by how it ended, recorded or not: jobs_finished_total counts what"
        " is. Close to the job's timeout: what it calls is slow, or the timeout is too short."
    ),
    "settle_duration_seconds": (
        "Seconds to commit a batch of outcomes. High: the disk under PostgreSQL's WAL is slow, or"
        " rows are locked."
    ),
    "jobs_rescued_total": (
        "Runs taken back because their lease had ended. Rising: workers die or hang, look at their"
        " logs and memory."
    ),
    "stale_settlements_total": (
        "Outcomes dropped because their run had lost its lease. Rising: a worker stands still for"
        " longer than LEASE_SECONDS, often a handler that blocks the event loop."
    ),
    "worker_slots": (
        "Slots of this worker, by state. None free for long: raise WORKER_CONCURRENCY or add"
        " workers."
    ),
    "message_cache_requests_total": (
        "Reads of a message from Redis, by outcome. Any error: Redis is away or slow, /ready says"
        " why; nothing is lost but its speed. Stays at 0 where REDIS_URL is not set."
    ),
    "messages_total": (
        "Messages handed to the receiver at WEBHOOK_URL, by what came of each attempt. Many"
        " rate_limited: lower MESSAGE_BATCH_SIZE or raise MESSAGE_INTERVAL. Many rejected: look at"
        " WEBHOOK_AUTH_KEY, then at the receiver's rules. Other errors: the receiver is not well."
    ),
    "listener_up": (
        "1 while all listening connections of this process hear; missing where none is to"
        " (WORKER_LISTEN=off). 0: work starts by polling only, run `signalstack doctor` against"
        " LISTEN_DATABASE_URL."
    ),
    "listener_mode": (
        "1 for how this process learns of work: listening, polling every POLL_INTERVAL because"
        " notifications do not arrive, or off: polling because WORKER_LISTEN=off says so. polling:"
        " its log says why at listener.down, as does /ready."
    ),
    "listener_last_notification_timestamp_seconds": (
        "Unix time of the last notification heard, canaries included (one of all every 15 s)."
        " A minute old: LISTEN is silently dead, run `signalstack doctor`."
    ),
    "listener_reconnects_total": (
        "Times the listening connection came back. Rising: something between this process and"
        " PostgreSQL cuts its connections."
    ),
    "listener_roundtrip_seconds": (
        "Seconds for a canary to come back to its sender; who hears another's sends none. High:"
        " notifying commits queue up, or the event loop is blocked."
    ),
    "database_up": (
        "1 while all standing connections of this process to PostgreSQL are there: those that"
        " listen, claim, record outcomes and store. 0 in all: PostgreSQL is away. 0 in one: look at"
        " the network between it and PostgreSQL."
    ),
    "db_query_duration_seconds": (
        "Seconds a statement took as seen from here, by its file's name. One of them slow: EXPLAIN"
        " it. All of them: the network or PostgreSQL."
    ),
    "db_pool_connections": (
        "Pooled connections, by state; waiting are callers without one. Waiting above 0: raise"
        " DB_POOL_MAX, or find what holds them."
    ),
    "webhook_deliveries_total": (
        "Webhook deliveries, by outcome. Many failed or timeout: a receiver is down. Any blocked:"
        " an endpoint points to an address that is not allowed."
    ),
    "event_loop_lag_seconds": (
        "Seconds by which a timer of the event loop fired late; the rate of its sum is the share of"
        " the time in which the loop stood still. Above 0.1 often: a handler computes or blocks in"
        " an async function (make it a plain one), or the CPU is too small."
    ),
    "webhook_duration_seconds": (
        "Seconds from the beginning of a delivery to its answer, connecting included, by outcome."
        " Near REQUEST_TIMEOUT: receivers are slow, and each keeps a slot of a worker."
    ),
    "webhook_postponed_total": (
        "Times a delivery was put off by its endpoint's rate or a receiver's Retry-After. Rising as"
        " fast as deliveries for long: more is sent to an endpoint than it takes; look at rate and"
        " held_until of GET /v1/endpoints."
    ),
    "maintenance_leader": (
        "1 in the process that does maintenance. Not 1 in sum for a minute: nobody stands for"
        " leader, or PostgreSQL is away."
    ),
    "chore_duration_seconds": (
        "Seconds that a chore of the maintenance leader took, by how it ended. Any failed for long:"
        " its log says why; nothing is lost, but what the chore keeps in order piles up."
    ),
    "retention_removed_total": (
        "Rows removed because RETENTION_… was over, by table and how; those of dropped partitions"
        " are estimated. None for days while tables grow: see chore_duration_seconds of retention."
    ),
    "queue_depth": (
        "Jobs of all tenants that are not finished, by status; only the leader has this. Due ones"
        " are paused where their tenant or the operator has paused the queue, else pending. Counted"
        " one by one up to 5,000; beyond that pending, paused and scheduled are as the last vacuum"
        " saw them, and running may lack some. Pending rising: add workers, see queue_workers."
    ),
    "queue_oldest_seconds": (
        "Age of the oldest due job that has not started, 0 when none waits; what waits because its"
        " tenant or the operator has paused the queue has none. Only the leader has this. Of a long"
        " backlog the first of each priority is looked at, and of more than 200 tenants (all queues"
        " together, two of each at least) always those with the lowest ids. Rising: no worker"
        " serves the queue, it is limited, or slots are short."
    ),
    "queue_workers": (
        "Workers alive that serve the queue; only the leader has this. 0 with jobs waiting: start"
        " one with this queue in WORKER_QUEUES."
    ),
    "queue_paused": (
        "1 when some tenant's queue of that name, or the operator's, is paused; jobs of other"
        " tenants go on, and only the operator's pause holds all. Only the leader has this."
        " 1 for long: somebody forgot POST /v1/queues/{name}/resume."
    ),
    "workers": (
        "Registered workers, by whether their lease holds or is over for more than a second; only"
        " the leader has this. Stale above 0 for a minute: rescuing fails, see"
        " chore_duration_seconds of rescue."
    ),
    "queue_gauges_timestamp_seconds": (
        "Unix time at which the gauges of queues and workers were read; only the leader has this."
        " Older than a minute: the leader cannot read them, see chore_duration_seconds."
    ),
    "notify_queue_usage_ratio": (
        "How full PostgreSQL's queue of notifications is; only the leader has this. Above 0.1: a"
        " listening session stands still in a transaction; when full, commits that notify fail."
    ),
    "database_connections": (
        "Connections to the database server by all its clients, by state; only the leader has this."
        " Near database_connections_limit: lower DB_POOL_MAX or use a pooler. Other: also those of"
        " roles that ours may not look at (grant pg_monitor)."
    ),
    "database_connections_limit": (
        "max_connections of the server; only the leader has this. Raise it, or put a pooler before"
        " it, when database_connections comes near it."
    ),
    "database_oldest_transaction_seconds": (
        "Age of the oldest open or prepared transaction in this database; only the leader has this."
        " Minutes: vacuum removes nothing newer and queues slow down; `signalstack doctor` names"
        " the holder."
    ),
    "database_xmin_age_transactions": (
        "Transactions since the oldest row version that vacuum must keep in this database, for"
        " transactions, prepared ones, replication slots and standbys; only the leader has this."
        " Rising without end: something holds it, see pg_replication_slots and pg_prepared_xacts."
    ),
    "database_live_rows": (
        "Rows of a table with its partitions, as PostgreSQL estimates them; only the leader has"
        " this. metrics_delta growing: the chore roll_up fails."
    ),
    "database_dead_rows": (
        "Rows that vacuum has yet to remove, as PostgreSQL estimates them; only the leader has"
        " this. Above 100,000 in jobs for long: vacuum is held back or too slow, claims slow down."
    ),
    "database_table_bytes": (
        "Bytes of a table with its indexes and partitions; only the leader has this. Growing for"
        " ever: see RETENTION_SUCCEEDED and its like."
    ),
    "database_in_recovery": (
        "1 when the server is a standby, which takes no writes; only the leader has this. 1: point"
        " DATABASE_URL at the primary."
    ),
    "database_gauges_timestamp_seconds": (
        "Unix time at which the gauges of the database were read; only the leader has this. Older"
        " than a minute: the leader cannot read them."
    ),
    "schedule_ticks_total": (
        "Ticks of schedules, by what became of them. Any rejected: a schedule's last_error says why"
        " no job was made. Many skipped: no leader for a while, see maintenance_leader."
    ),
    "schedule_lag_seconds": (
        "Seconds from a tick being due to its job being enqueued. High: the leader was followed"
        " late, or more is due at once than PostgreSQL takes."
    ),
    "build_info": (
        "Always 1; the labels say what runs. Several versions for long: a roll-out is stuck."
    ),
}
