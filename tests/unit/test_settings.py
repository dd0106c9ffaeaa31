"""The environment: defaults, every refusal, and that the documentation keeps up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from signalstack import settings
from signalstack.api.parts import Limits
from signalstack.core.errors import SettingsError
from signalstack.core.token_bucket import Rate
from signalstack.core.variable import mask
from signalstack.store.embedded import ROOTS_DATA_DIR

ROOT = Path(__file__).parents[2]


def refusal(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.load(environ)
    return str(caught.value).splitlines()


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    loaded = settings.load({})

    assert loaded.database_url is None
    assert (loaded.host, loaded.port) == ("127.0.0.1", 8080)
    assert (loaded.metrics_host, loaded.metrics_port) == ("127.0.0.1", 9464)
    assert (loaded.log_level, loaded.log_format) == ("info", "json")
    assert (loaded.worker_concurrency, loaded.worker_queues) == (10, None)
    assert (loaded.max_attempts, loaded.retry_base_delay_s, loaded.retry_max_delay_s) == (3, 1, 60)
    assert (loaded.request_timeout_s, loaded.job_timeout_s, loaded.lease_s) == (5, 30, 30)
    assert (loaded.poll_interval_s, loaded.shutdown_timeout_s) == (5, 30)
    assert (loaded.db_connect_retries, loaded.db_connect_delay_s) == (10, 2)
    assert loaded.max_body_bytes == 262_144
    assert loaded.worker_listen
    assert loaded.rate_limit is None
    assert not loaded.webhook_allow_private
    assert not loaded.traces


def test_the_process_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAX_ATTEMPTS", "7")

    assert settings.load().max_attempts == 7


def test_every_field_has_one_variable() -> None:
    assert len(settings.describe()) == len(msgspec.structs.fields(settings.Settings))
    assert len({name for name, _, _ in settings.describe()}) == len(settings.describe())


def test_rows_tell_of_what_a_variable_does_not_reach() -> None:
    meanings = {name: meaning for name, _, meaning in settings.describe()}

    assert f"{Limits().body_timeout_s:g} s" in meanings["REQUEST_TIMEOUT"]
    assert str(ROOTS_DATA_DIR) in meanings["XDG_DATA_HOME"]


def test_values_are_parsed_into_what_components_take() -> None:
    loaded = settings.load(
        {
            "DATABASE_URL": "host=db dbname=x",
            "POLL_INTERVAL": "500ms",
            "RETRY_MAX_DELAY": "2m",
            "LEASE_SECONDS": "4.5",
            "WORKER_QUEUES": "mail, slow,mail",
            "WORKER_LISTEN": "OFF",
            "LOG_LEVEL": "Debug",
            "PORT": " 0 ",
            "SIGNALSTACK_HANDLERS": "shop.jobs:HANDLERS",
        }
    )

    assert loaded.database_url == "host=db dbname=x"
    assert (loaded.poll_interval_s, loaded.retry_max_delay_s, loaded.lease_s) == (0.5, 120, 4.5)
    assert loaded.worker_queues == ("mail", "slow")
    assert not loaded.worker_listen
    assert (loaded.log_level, loaded.port) == ("debug", 0)
    assert loaded.handlers == "shop.jobs:HANDLERS"


@pytest.mark.parametrize(("given", "burst"), [("50", 50), ("50:200", 200)])
def test_a_rate_limit_is_a_rate_and_maybe_a_burst(given: str, burst: int) -> None:
    assert settings.load({"RATE_LIMIT": given}).rate_limit == Rate(per_s=50, burst=burst)


def test_a_watchdog_may_be_off() -> None:
    assert settings.load({"WATCHDOG_TIMEOUT": "0s"}).watchdog_timeout_s == 0


def test_the_lease_may_be_a_duration_too() -> None:
    assert settings.load({"LEASE_SECONDS": "1m"}).lease_s == 60


def test_an_empty_variable_counts_as_not_set() -> None:
    loaded = settings.load({"DATABASE_URL": "", "PORT": "  "})

    assert (loaded.database_url, loaded.port) == (None, 8080)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("DATABASE_URL", "db:5432", "postgresql://"),
        ("LISTEN_DATABASE_URL", "http://db", "postgresql://"),
        ("RATE_LIMIT", "0", "like 100 or 100:200"),
        ("WATCHDOG_TIMEOUT", "1ms", "from 1s to 1h, like 500ms, 5s, 2m or 1h; or 0s: never"),
        ("RATE_LIMIT", "10:", "like 100 or 100:200"),
        ("RATE_LIMIT", "10:1000001", "from 1 to 1000000"),
        ("PORT", "65536", "from 0 to 65535"),
        ("PORT", "-1", "from 0 to 65535"),
        ("PORT", "8_080", "from 0 to 65535"),
        ("METRICS_PORT", "٨٠", "from 0 to 65535"),
        ("HOST", "0.0.0.0:80/x", "an IP address"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error or critical"),
        ("LOG_FORMAT", "xml", "json or console"),
        ("WORKER_CONCURRENCY", "0", "from 1 to"),
        ("WORKER_QUEUES", "a,,b", "queue names"),
        ("WORKER_QUEUES", "q" * 101, "queue names"),
        ("WORKER_LISTEN", "perhaps", "on or off"),
        ("SIGNALSTACK_HANDLERS", "shop/jobs.py", "package.module:HANDLERS"),
        ("MAX_ATTEMPTS", "101", "from 1 to 100"),
        ("RETRY_BASE_DELAY", "1", "500ms, 5s, 2m or 1h"),
        ("JOB_TIMEOUT", "25h", "from 1ms to 24h"),
        ("JOB_TIMEOUT", "0s", "from 1ms to 24h"),
        ("MAX_JOB_TIMEOUT", "25h", "from 1ms to 24h"),
        ("LEASE_SECONDS", "2", "seconds from 3 to"),
        ("LEASE_SECONDS", "1e400", "seconds from 3 to"),
        ("POLL_INTERVAL", "99ms", "from 100ms"),
        ("DB_POOL_MAX", "many", "from 1 to"),
        ("MAX_BODY_BYTES", "10", "from 1024 to"),
        ("WEBHOOK_ALLOW_PRIVATE", "2", "on or off"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(
    name: str, value: str, right: str
) -> None:
    (line,) = refusal(**{name: value})

    assert line.startswith(f"{name} is ")
    assert value[:40] in line
    assert right in line


def test_all_faults_are_told_at_once() -> None:
    lines = refusal(PORT="x", LOG_LEVEL="x", DB_POOL_MIN="20")

    assert [line.split()[0] for line in lines] == ["PORT", "LOG_LEVEL", "DB_POOL_MIN"]


def test_variables_that_contradict_each_other_are_refused() -> None:
    assert refusal(DB_POOL_MIN="3", DB_POOL_MAX="2") == [
        "DB_POOL_MIN is 3: it must not be above DB_POOL_MAX, which is 2"
    ]
    assert refusal(RETRY_BASE_DELAY="2m") == [
        "RETRY_BASE_DELAY is 2m: it must not be above RETRY_MAX_DELAY, which is 1m"
    ]
    assert refusal(MAX_JOB_TIMEOUT="20s") == [
        "JOB_TIMEOUT is 30s: it must not be above MAX_JOB_TIMEOUT, which is 20s"
    ]
    assert refusal(PORT="9464") == ["METRICS_PORT is 9464: it must not be the same as PORT"]


def test_free_ports_do_not_clash() -> None:
    loaded = settings.load({"PORT": "0", "METRICS_PORT": "0"})

    assert (loaded.port, loaded.metrics_port) == (0, 0)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, False),
        # OpenTelemetry's specification: any other word than "true" is false.
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "1"}, True),
    ],
)
def test_traces_follow_the_variables_of_opentelemetry(environ: dict[str, str], *, on: bool) -> None:
    assert settings.load(environ).traces is on


def test_the_data_folder_follows_the_xdg_specification() -> None:
    home = {"HOME": "/home/ada"}

    assert settings.load(home).data_home == Path("/home/ada/.local/share")
    assert settings.load(home | {"XDG_DATA_HOME": "/data"}).data_home == Path("/data")
    assert settings.load(home | {"XDG_DATA_HOME": "data"}).data_home == Path(
        "/home/ada/.local/share"
    )


def test_without_a_home_the_message_says_what_to_set() -> None:
    loaded = settings.load({})

    with pytest.raises(SettingsError, match="XDG_DATA_HOME"):
        _ = loaded.data_home


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:s3cret@db/x",
        "postgresql://ada:s3cret@db1:1,db2:2/x?sslmode=require",
        "postgresql://ada:s3cret/with@odd:signs@db/x",
        "postgresql://db/x?user=ada&password=s3cret&sslmode=require",
        "mysql://ada:s3cret@db",
        "ada:s3cret@db",
        "host=db password=s3cret user=ada",
        "host=db PASSWORD = 's3cret with \\' quote' user=ada",
        "https://ada:s3cret@collector:4318",
    ],
)
def test_passwords_are_masked(text: str) -> None:
    assert "s3cret" not in mask(text)
    assert "quote" not in mask(text)
    assert "ada" in mask(text)


def test_a_refused_dsn_does_not_show_its_password() -> None:
    (line,) = refusal(DATABASE_URL="postgres:s3cret@db/x")

    assert "s3cret" not in line


def test_long_values_are_cut() -> None:
    (line,) = refusal(HOST="/" * 1_000)

    assert len(line) < 250


def test_the_documentation_lists_the_variables_as_they_are() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/generate.py", "--check"], check=False)

    assert done.returncode == 0, "a table in docs/ is stale: run `make docs`"
