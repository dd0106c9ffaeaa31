"""The only reader of the environment: which variables there are, and what they turn into."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from signalstack.core import variable
from signalstack.core.duration import format_duration
from signalstack.core.errors import SettingsError
from signalstack.core.job import MAX_ATTEMPTS_LIMIT
from signalstack.core.mail import Mailbox, MailServer, read_mailbox, read_server
from signalstack.core.message import MAX_CHARS
from signalstack.core.token_bucket import Rate
from signalstack.core.variable import duration, one_of, whole

_SHOWN_CHARS: Final = 120


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says, checked; wiring hands single values on, never this."""

    database_url: str | None
    listen_database_url: str | None
    db_pool_min: int
    db_pool_max: int
    db_connect_retries: int
    db_connect_delay_s: float
    xdg_data_home: Path | None
    home: Path | None
    host: str
    port: int
    request_timeout_s: float
    max_body_bytes: int
    rate_limit: Rate | None
    metrics_host: str
    metrics_port: int
    log_level: str
    log_format: str
    worker_concurrency: int
    worker_queues: tuple[str, ...] | None
    worker_listen: bool
    poll_interval_s: float
    lease_s: float
    job_timeout_s: float
    max_job_timeout_s: float
    max_attempts: int
    retry_base_delay_s: float
    retry_max_delay_s: float
    shutdown_timeout_s: float
    watchdog_timeout_s: float
    handlers: str | None
    webhook_allow_private: bool
    smtp: MailServer | None
    mail_from: Mailbox | None
    payment_gateway_url: str | None
    payment_gateway_key: str | None
    webhook_url: str | None
    webhook_auth_key: str | None
    message_batch_size: int
    message_interval_s: float
    message_workers: int
    message_char_limit: int
    retention_succeeded_s: float
    retention_failed_s: float
    retention_cancelled_s: float
    retention_events_s: float
    retention_messages_s: float
    redis_url: str | None
    service_name: str
    otel_disabled: bool
    otel_exporter: str | None
    otel_endpoint: str | None
    otel_traces_endpoint: str | None

    @property
    def traces(self) -> bool:
        """Whether spans are recorded: asked for by name, or by saying where they go."""
        if self.otel_disabled or self.otel_exporter == "none":
            return False
        return bool(self.otel_exporter or self.otel_endpoint or self.otel_traces_endpoint)

    @property
    def data_home(self) -> Path:
        """The user's data folder (XDG Base Directory Specification), for the embedded PostgreSQL.

        Raises:
            SettingsError: there is neither a data folder nor a home.
        """
        if self.xdg_data_home:
            return self.xdg_data_home
        if self.home:
            return self.home / ".local" / "share"
        raise SettingsError("HOME is not set: set it or XDG_DATA_HOME, or give --data-dir")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every variable; an empty one counts as not set.

    Raises:
        SettingsError: one line for each variable that cannot be used, with what would be right.
    """
    source = os.environ if environ is None else environ  # noqa: TID251 - the one reader
    values: dict[str, Any] = {}
    faults: list[str] = []
    for row in _ROWS:
        text = source.get(row.name, "").strip() or row.default
        try:
            values[row.field] = row.parse(text) if text else None
        except ValueError as error:
            faults.append(f"{row.name} is {_shown(text)}: it {error}")
    faults.extend(_conflicts(values))
    if faults:
        raise SettingsError("\n".join(faults))
    return msgspec.convert(values, Settings)


def override(settings: Settings, **given: str | None) -> Settings:
    """Change variables by what a command line says; None leaves one as it is.

    Raises:
        SettingsError: a value cannot be used.
    """
    changes: dict[str, Any] = {}
    for row in _ROWS:
        text = given.get(row.name)
        if text is None:
            continue
        try:
            changes[row.field] = row.parse(text)
        except ValueError as error:
            raise SettingsError(f"{row.name} is {_shown(text)}: it {error}") from None
    return msgspec.structs.replace(settings, **changes)


def describe() -> list[tuple[str, str, str]]:
    """List every variable as (name, default, meaning), from the table that parses them."""
    return [(row.name, row.default, row.meaning) for row in _ROWS]


class _Row(msgspec.Struct, frozen=True):
    """One variable; `parse` raises ValueError with what would be right."""

    name: str
    field: str
    default: str
    parse: Callable[[str], object]
    meaning: str


_PORT: Final = whole(0, 65_535)
_COUNT: Final = whole(1, 10_000)
# A day at least: as long as idempotency keys, whose replays look the first answer up.
_KEPT: Final = variable.kept("1d", "3650d")

# Grouped by what an operator thinks of together; the documentation keeps this order.
# fmt: off
_ROWS: Final = (
    _Row("DATABASE_URL", "database_url", "", variable.dsn,
         "PostgreSQL to use; without it, `up` and `bench` start an embedded one, as `demo` always"
         " does"),
    _Row("LISTEN_DATABASE_URL", "listen_database_url", "", variable.dsn,
         "direct DSN for LISTEN where DATABASE_URL leads through a transaction pooler"),
    _Row("DB_POOL_MIN", "db_pool_min", "1", _COUNT,
         "connections kept open by a process"),
    _Row("DB_POOL_MAX", "db_pool_max", "10", _COUNT,
         "most connections that a process opens"),
    _Row("DB_CONNECT_RETRIES", "db_connect_retries", "10", whole(0, 10_000),
         "further attempts to reach PostgreSQL when starting"),
    _Row("DB_CONNECT_DELAY", "db_connect_delay_s", "2s", duration("1ms", "1h"),
         "pause between those attempts"),
    _Row("XDG_DATA_HOME", "xdg_data_home", "", variable.folder,
         "where the embedded PostgreSQL keeps its data, in `signalstack/`; root's is in"
         " `/var/lib/signalstack/` whatever this says"),
    _Row("HOME", "home", "", variable.folder,
         "the same where XDG_DATA_HOME is not set, in `.local/share/signalstack/`"),
    _Row("HOST", "host", "127.0.0.1", variable.address,
         "address that the API listens on"),
    _Row("PORT", "port", "8080", _PORT,
         "port of the API; 0 takes any free one and prints it"),
    _Row("REQUEST_TIMEOUT", "request_timeout_s", "5s", duration("1ms", "1h"),
         "longest that answering a request may take, apart from its body, which has 10 s, and the"
         " wait that it asks for; also how long the receiver of a webhook, message or payment has"),
    _Row("MAX_BODY_BYTES", "max_body_bytes", "262144", whole(1_024, 67_108_864),
         "largest request body"),
    _Row("RATE_LIMIT", "rate_limit", "", variable.rate,
         "requests per second, or those and a burst (`100:200`), of a key in each API process; "
         "unset: any number"),
    _Row("METRICS_HOST", "metrics_host", "127.0.0.1", variable.address,
         "address that `/metrics` listens on"),
    _Row("METRICS_PORT", "metrics_port", "9464", _PORT,
         "port of `/metrics`; 0 takes any free one and prints it"),
    _Row("LOG_LEVEL", "log_level", "info", one_of("debug", "info", "warning", "error", "critical"),
         "least severe entry that is logged"),
    _Row("LOG_FORMAT", "log_format", "json", one_of("json", "console"),
         "`json` for machines, `console` for people"),
    _Row("WORKER_CONCURRENCY", "worker_concurrency", "10", _COUNT,
         "jobs that a worker process runs at once"),
    _Row("WORKER_QUEUES", "worker_queues", "", variable.queues,
         "queues that a worker process serves, parted by commas; unset: all of them"),
    _Row("WORKER_LISTEN", "worker_listen", "on", variable.switch,
         "`off`: poll only, without LISTEN; nothing is lost but time"),
    _Row("POLL_INTERVAL", "poll_interval_s", "5s", duration("100ms", "1h"),
         "how often a worker looks for work that nothing told it of"),
    _Row("LEASE_SECONDS", "lease_s", "30", variable.seconds(3, 3_600),
         "how long a silent worker keeps its jobs before they are rescued"),
    _Row("JOB_TIMEOUT", "job_timeout_s", "30s", duration("1ms", "24h"),
         "longest run of a job that names no `timeout_s`"),
    _Row("MAX_JOB_TIMEOUT", "max_job_timeout_s", "24h", duration("1ms", "24h"),
         "largest `timeout_s` that a job may name; the API refuses larger ones, and no run takes"
         " longer in a worker, whoever stored its job"),
    _Row("MAX_ATTEMPTS", "max_attempts", "3", whole(1, MAX_ATTEMPTS_LIMIT),
         "failing runs of a job that names no `max_attempts`"),
    _Row("RETRY_BASE_DELAY", "retry_base_delay_s", "1s", duration("1ms", "24h"),
         "upper bound of the random pause before the second attempt; it doubles"),
    _Row("RETRY_MAX_DELAY", "retry_max_delay_s", "60s", duration("1ms", "24h"),
         "where the doubling ends"),
    _Row("SHUTDOWN_TIMEOUT", "shutdown_timeout_s", "30s", duration("0s", "1h"),
         "how long running work may go on after SIGTERM before it is handed back"),
    _Row("WATCHDOG_TIMEOUT", "watchdog_timeout_s", "60s", duration("1s", "1h", never=True),
         "a process whose event loop stands still for so long ends with 1; `0s`: never"),
    _Row("SIGNALSTACK_HANDLERS", "handlers", "", variable.attribute,
         "your own job types, as `package.module:HANDLERS`"),
    _Row("WEBHOOK_ALLOW_PRIVATE", "webhook_allow_private", "off", variable.switch,
         "`on` lets webhooks go to private addresses: for trying out alone"),
    _Row("SMTP_URL", "smtp", "", read_server,
         "where `send_email` hands mail in: `smtp://`, `smtp+starttls://` or `smtps://`; "
         "a password is sent encrypted unless `?starttls=never`"),
    _Row("MAIL_FROM", "mail_from", "", read_mailbox,
         "whom mail comes from, like `Shop <shop@example.com>`"),
    _Row("PAYMENT_GATEWAY_URL", "payment_gateway_url", "", variable.url,
         "where `process_payment` posts to; may be private"),
    _Row("PAYMENT_GATEWAY_KEY", "payment_gateway_key", "", str,
         "bearer token for the payment gateway"),
    _Row("WEBHOOK_URL", "webhook_url", "", variable.url,
         "where `send_message` posts messages to; may be private"),
    _Row("WEBHOOK_AUTH_KEY", "webhook_auth_key", "", str,
         "what that receiver is told in the header `X-Auth-Key`"),
    _Row("MESSAGE_BATCH_SIZE", "message_batch_size", "2", _COUNT,
         "messages that may leave in MESSAGE_INTERVAL, and at once after a pause; the same for all "
         "API and worker processes, as the next three"),
    _Row("MESSAGE_INTERVAL", "message_interval_s", "120s", duration("1ms", "24h"),
         "the time in which they leave"),
    _Row("MESSAGE_WORKERS", "message_workers", "5", _COUNT,
         "messages on their way at once, in all processes together"),
    _Row("MESSAGE_CHAR_LIMIT", "message_char_limit", "160", whole(1, MAX_CHARS),
         "characters that a message may have"),
    _Row("RETENTION_SUCCEEDED", "retention_succeeded_s", "7d", _KEPT,
         "how long succeeded jobs are kept after their end, from `1d`; `off`: for ever"),
    _Row("RETENTION_FAILED", "retention_failed_s", "30d", _KEPT,
         "the same for failed jobs"),
    _Row("RETENTION_CANCELLED", "retention_cancelled_s", "30d", _KEPT,
         "the same for cancelled jobs"),
    _Row("RETENTION_EVENTS", "retention_events_s", "30d", _KEPT,
         "the same for events, from when they were received"),
    _Row("RETENTION_MESSAGES", "retention_messages_s", "90d", _KEPT,
         "the same for messages that do not wait any more, from when they were accepted"),
    _Row("REDIS_URL", "redis_url", "", variable.redis,
         "where sent messages are kept at hand, for API and worker processes alike (extra `redis`);"
         " unset: nowhere"),
    _Row("OTEL_SERVICE_NAME", "service_name", "signalstack", str,
         "name of the service in traces"),
    _Row("OTEL_SDK_DISABLED", "otel_disabled", "false", variable.otel_boolean,
         "`true` turns traces off whatever else is set"),
    _Row("OTEL_TRACES_EXPORTER", "otel_exporter", "", one_of("otlp", "none"),
         "`otlp` turns traces on, `none` off"),
    _Row("OTEL_EXPORTER_OTLP_ENDPOINT", "otel_endpoint", "", variable.url,
         "where telemetry goes; setting it turns traces on"),
    _Row("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otel_traces_endpoint", "", variable.url,
         "the same for traces alone, with its whole path"),
)
# fmt: on


def _conflicts(values: Mapping[str, Any]) -> list[str]:
    """Compare variables that are good alone; one that is not has no value here."""

    def above(low: str, high: str) -> bool:
        return low in values and high in values and values[low] > values[high]

    faults: list[str] = []
    if above("db_pool_min", "db_pool_max"):
        least, most = values["db_pool_min"], values["db_pool_max"]
        faults.append(f"DB_POOL_MIN is {least}: it must not be above DB_POOL_MAX, which is {most}")
    if above("retry_base_delay_s", "retry_max_delay_s"):
        base, most = (format_duration(values[f"retry_{end}_delay_s"]) for end in ("base", "max"))
        faults.append(
            f"RETRY_BASE_DELAY is {base}: it must not be above RETRY_MAX_DELAY, which is {most}"
        )
    if above("job_timeout_s", "max_job_timeout_s"):
        usual, most = (format_duration(values[f"{end}job_timeout_s"]) for end in ("", "max_"))
        faults.append(
            f"JOB_TIMEOUT is {usual}: it must not be above MAX_JOB_TIMEOUT, which is {most}"
        )
    port = values.get("port")
    if (
        port
        and port == values.get("metrics_port")
        and values.get("host") == values.get("metrics_host")
    ):
        faults.append(f"METRICS_PORT is {port}: it must not be the same as PORT")
    return faults


def _shown(text: str) -> str:
    masked = variable.mask(text)
    return repr(masked if len(masked) <= _SHOWN_CHARS else masked[:_SHOWN_CHARS] + "…")
