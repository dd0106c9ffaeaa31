"""The other commands through real processes: what they print, and with which code they end."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import httpx2
import psycopg
import pytest

from gate import WITH_GATE, open_gate
from processes import finish, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def taken_port() -> Iterator[str]:
    """Give a port of 127.0.0.1 that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield str(taken.getsockname()[1])


@pytest.mark.parametrize("command", ["api", "worker"])
async def test_a_database_without_schema_is_refused_with_the_command_to_run(
    empty_database_url: str, command: str
) -> None:
    code, output, errors = await finish(command, DATABASE_URL=empty_database_url)

    assert (code, output) == (1, "")
    assert "run `signalstack migrate up`" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("command", ["api", "worker"])
async def test_serving_ends_with_0_when_asked_to(database_url: str, command: str) -> None:
    async with start(command, DATABASE_URL=database_url) as process:
        await process.read(r"^metrics +http://127\.0\.0\.1:\d+/metrics$")

        assert await process.stop() == 0

    assert ("API " in process.output) == (command == "api")


async def test_api_and_worker_apart_do_a_job_together(database_url: str) -> None:
    code, key, _ = await finish("keys", "create", "--user", "acme", DATABASE_URL=database_url)
    assert code == 0
    given = {"DATABASE_URL": database_url, **WITH_GATE}
    async with (
        open_gate() as gate,
        start("api", **given) as api,
        start("worker", **given) as worker,
    ):
        base = await api.read(r"^API +(\S+)")
        await worker.read("^metrics")
        async with httpx2.AsyncClient(base_url=base, headers={"x-api-key": key.strip()}) as client:
            job = {"type": "hold", "payload": {"port": gate.port}}
            answer = await client.post("/v1/jobs", json=job)
        run = await gate.knocked()
        await run.send(b".")
        assert await worker.stop() == 0

    with psycopg.connect(database_url) as conn:
        query = "SELECT status FROM signalstack.finished_jobs WHERE id = %s"
        assert conn.execute(query, [answer.json()["id"]]).fetchone() == ("succeeded",)


async def test_up_migrates_a_database_that_it_is_given(empty_database_url: str) -> None:
    async with start("up", DATABASE_URL=empty_database_url) as process:
        await process.read(r"^API key +(\S+)")

        assert await process.stop() == 0

    assert empty_database_url not in process.output


@pytest.mark.parametrize("variable", ["PORT", "METRICS_PORT", "SIGNALSTACK_HANDLERS"])
async def test_up_that_could_not_serve_tells_the_first_key_when_it_can(
    empty_database_url: str, taken_port: str, variable: str
) -> None:
    there = {"DATABASE_URL": empty_database_url}
    wrong = taken_port if variable.endswith("PORT") else "no.such:HANDLERS"

    code, output, errors = await finish("up", **there, **{variable: wrong})
    async with start("up", **there) as process:
        await process.read(r"^API key +ss_live_\w+ ")
        await process.read("^curl .*/v1/jobs")

    assert (code, output) == (2, "")
    assert variable in errors


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["up"], {"PORT": "http"}, ["PORT is 'http'", "65535"]),
        (["api"], {"REQUEST_TIMEOUT": "5 parsecs"}, ["REQUEST_TIMEOUT is '5 parsecs'", "500ms"]),
        (["api"], {"DB_POOL_MIN": "9", "DB_POOL_MAX": "2"}, ["DB_POOL_MIN is 9", "which is 2"]),
        (["api"], {}, ["DATABASE_URL is not set", "postgresql://"]),
        (["worker"], {}, ["DATABASE_URL is not set"]),
        (["keys", "list"], {}, ["DATABASE_URL is not set"]),
        (["doctor"], {}, ["DATABASE_URL is not set"]),
        (["worker", "--queues", "a,,b"], {}, ["WORKER_QUEUES is 'a,,b'"]),
        (["worker", "--concurrency", "0"], {}, ["--concurrency"]),
        (["nothing"], {}, ["No such command"]),
    ],
)
async def test_wrong_settings_and_usage_end_with_2_and_say_what_would_be_right(
    arguments: list[str], variables: dict[str, str], says: list[str]
) -> None:
    code, output, errors = await finish(*arguments, **variables)

    assert (code, output) == (2, "")
    assert all(part in errors for part in says), errors
    assert "Traceback" not in errors


async def test_a_missing_module_of_handlers_ends_with_2(database_url: str) -> None:
    code, _, errors = await finish(
        "worker", DATABASE_URL=database_url, SIGNALSTACK_HANDLERS="no.such:HANDLERS"
    )

    assert code == 2
    assert "SIGNALSTACK_HANDLERS=no.such:HANDLERS" in errors


@pytest.mark.parametrize("command", ["api", "worker", "keys list", "migrate version"])
async def test_postgresql_away_is_tried_so_often_and_then_told(command: str) -> None:
    code, output, errors = await finish(
        *command.split(),
        DATABASE_URL="postgresql://someone:hush@127.0.0.1:1/nobody",
        DB_CONNECT_RETRIES="2",
        DB_CONNECT_DELAY="1ms",
    )

    assert (code, output) == (1, "")
    assert len(re.findall(r"database_away", errors)) == 3
    assert "PostgreSQL at 127.0.0.1, port 1, took no connection in 3 tries" in errors
    assert "hush" not in errors


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "taken"),
        ("METRICS_PORT", "taken"),
        ("PORT", "65536"),
        ("HOST", "no.such.host.invalid"),
        ("HOST", "a..b"),
        ("METRICS_HOST", "no.such.host.invalid"),
    ],
)
async def test_an_address_that_cannot_be_had_is_told_before_a_database_is_made_or_migrated(
    empty_database_url: str, tmp_path: Path, taken_port: str, variable: str, value: str
) -> None:
    wrong = {variable: taken_port if value == "taken" else value}

    made = await finish("up", "--data-dir", tmp_path / "data", **wrong)
    migrated = await finish("up", DATABASE_URL=empty_database_url, **wrong)
    away = await finish("api", DATABASE_URL="postgresql://u@127.0.0.1:1/nobody", **wrong)

    for code, output, errors in (made, migrated, away):
        assert (code, output) == (2, "")
        assert errors.startswith(f"signalstack: {variable}"), errors
    assert not (tmp_path / "data").exists()
    with psycopg.connect(empty_database_url) as conn:
        assert conn.execute("SELECT to_regnamespace('signalstack')").fetchone() == (None,)


@pytest.mark.parametrize("variable", ["PORT", "METRICS_PORT"])
async def test_a_port_in_use_ends_with_2_and_names_it(
    database_url: str, taken_port: str, variable: str
) -> None:
    code, output, errors = await finish(
        "api", **{"DATABASE_URL": database_url, variable: taken_port}
    )

    assert (code, output) == (2, "")
    assert variable in errors
    assert taken_port in errors
    assert "in use" in errors or "listens on" in errors
    assert "Traceback" not in errors


async def test_no_job_may_ask_for_a_longer_run_than_the_operator_allows(database_url: str) -> None:
    there = {"DATABASE_URL": database_url}
    _, key, _ = await finish("keys", "create", "--user", "acme", "--scopes", "admin", **there)
    long = {"type": "noop", "timeout_s": 60.5}
    ticking = {"name": "n", "cron": "@daily", "job": long}
    fine = {**long, "timeout_s": 60}
    async with start("api", MAX_JOB_TIMEOUT="1m", **there) as process:
        base = await process.read(r"^API +(\S+)")
        headers = {"x-api-key": key.strip()}
        async with httpx2.AsyncClient(base_url=base, headers=headers) as client:
            taken = await client.post("/v1/jobs/batch", json={"jobs": [fine]})
            kept = await client.post("/v1/schedules", json={**ticking, "job": fine})
            assert (taken.status_code, kept.status_code) == (201, 201), taken.text + kept.text
            refused = [
                await client.request(method, path, json=body)
                for method, path, body in (
                    ("POST", "/v1/jobs", long),
                    ("POST", "/v1/jobs/batch", {"jobs": [fine, long]}),
                    ("POST", "/v1/schedules", {**ticking, "name": "m"}),
                    ("PATCH", f"/v1/schedules/{kept.json()['id']}", {"job": long}),
                )
            ]

    assert [answer.status_code for answer in refused] == [422] * 4
    faults = [answer.json()["errors"][0] for answer in refused]
    assert [fault["pointer"] for fault in faults] == [
        "/timeout_s",
        "/jobs/1/timeout_s",
        "/job/timeout_s",
        "/job/timeout_s",
    ]
    assert all("must be at most 60: " in fault["detail"] for fault in faults), faults


async def test_a_key_is_made_listed_and_revoked(database_url: str) -> None:
    there = {"DATABASE_URL": database_url}
    code, key, about = await finish(
        "keys", "create", "--user", "acme", "--scopes", "read,admin", **there
    )
    assert code == 0
    assert re.fullmatch(r"ss_live_\w+\n", key)
    (key_id,) = re.findall(r"^key (\w+) of acme \(admin, read\):$", about, re.MULTILINE)

    _, before, _ = await finish("keys", "list", **there)
    code, revoked, _ = await finish("keys", "revoke", key_id, **there)
    _, after, _ = await finish("keys", "list", **there)

    assert re.search(rf"^{key_id} +active +admin,read +\S+ +acme$", before, re.MULTILINE)
    assert (code, revoked) == (0, f"revoked {key_id} of acme\n")
    assert re.search(rf"^{key_id} +revoked ", after, re.MULTILINE)
    assert key.strip() not in before


async def test_audit_says_when_there_is_more_than_it_shows(database_url: str) -> None:
    there = {"DATABASE_URL": database_url}
    for user in ("first", "second"):
        await finish("keys", "create", "--user", user, **there)

    _, everything, quiet = await finish("audit", "--limit", "2", **there)
    code, newest, errors = await finish("audit", "--limit", "1", **there)

    assert (code, quiet) == (0, "")
    assert newest == everything.splitlines(keepends=True)[0]
    assert errors.startswith("these are the newest 1: --limit shows more (up to 10000)")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["keys", "revoke", "nothing"], 1, "there is no key nothing"),
        (["keys", "create", "--user", "acme", "--scopes", "root"], 2, "read, write, admin"),
        (["keys", "create", "--user", ""], 1, "1 to 200"),
        (["keys", "create"], 2, "--user"),
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    database_url: str, arguments: list[str], code: int, says: str
) -> None:
    ended, output, errors = await finish(*arguments, DATABASE_URL=database_url)

    assert (ended, output) == (code, "")
    assert says in errors


async def test_the_schema_goes_up_and_down(empty_database_url: str) -> None:
    there = {"DATABASE_URL": empty_database_url}

    told = [
        await finish("migrate", *step, **there)
        for step in (["version"], ["up"], ["up"], ["version"], ["down", "--steps", "99"], ["down"])
    ]

    assert [code for code, _, _ in told] == [0] * 6
    fresh, applied, again, current, reverted, bare = (output for _, output, _ in told)
    latest = fresh.splitlines()[0].removeprefix("0 of ")
    assert "pending 0001 foundation" in fresh
    assert "applied 0001 foundation" in applied
    assert again == "nothing to apply\n"
    assert current == f"{latest} of {latest}\n"
    assert "reverted 0001 foundation" in reverted
    assert bare == "nothing to revert\n"


async def test_the_queues_of_a_worker_are_declared(database_url: str) -> None:
    async with start("worker", "--queues", "mail,reports", DATABASE_URL=database_url) as process:
        await process.read("^metrics")
        with psycopg.connect(database_url) as conn:
            rows = conn.execute("SELECT name FROM signalstack.queues ORDER BY name").fetchall()

    assert [name for (name,) in rows] == ["default", "mail", "messages", "reports"]


async def test_doctor_prints_a_line_a_check_and_fails_for_a_fault(
    empty_database_url: str,
) -> None:
    code, output, _ = await finish("doctor", DATABASE_URL=empty_database_url)

    assert code == 1
    assert re.search(r"^ok +listen +a notification arrived", output, re.MULTILINE)
    assert re.search(r"^fault +schema +.*signalstack migrate up", output, re.MULTILINE)
    assert re.search(r"^\d+ faults?$", output, re.MULTILINE)


async def test_doctor_tells_once_that_nobody_is_there() -> None:
    code, output, _ = await finish("doctor", DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x")

    assert code == 1
    assert output.count("DATABASE_URL cannot be reached") == 1
    assert output.endswith("\n1 fault\n")


@pytest.mark.parametrize("command", ["doctor", "keys list"])
@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:hush@[::1/x",
        "postgresql://u:hush@127.0.0.1:1/x?bogus=1",
        "postgresql://u:hush%ZZ@127.0.0.1:1/x",
        "postgresql://u:hush/tail@127.0.0.1:1/x",
        "postgresql://u:12/hush@127.0.0.1:1/x",
        "postgresql://u:tail@hush@127.0.0.1:1/x",
        "postgresql://u:hush@127.0.0.1:1/x?connect_timeout=soon",
    ],
)
async def test_a_dsn_that_cannot_be_read_is_named_and_not_quoted(command: str, dsn: str) -> None:
    code, output, errors = await finish(*command.split(), DATABASE_URL=dsn)

    assert (code, output) == (2, "")
    assert errors.startswith("signalstack: DATABASE_URL cannot be read; it must look like ")
    assert "hush" not in errors


async def test_a_dsn_for_listen_that_cannot_be_read_is_named(database_url: str) -> None:
    there = {"DATABASE_URL": database_url, "LISTEN_DATABASE_URL": "postgresql://u:hush@[::1/x"}

    code, _, errors = await finish("doctor", **there)

    assert code == 2
    assert errors.startswith("signalstack: LISTEN_DATABASE_URL cannot be read; ")
    assert "hush" not in errors


async def test_help_that_is_an_options_value_does_not_hide_wrong_settings() -> None:
    code, _, errors = await finish("keys", "create", "--user", "--help", PORT="ninety")

    assert code == 2
    assert errors.startswith("signalstack: PORT is 'ninety': ")


@pytest.mark.parametrize("arguments", ["", "up", "worker", "keys create", "migrate up", "demo"])
async def test_help_is_there_for_everything_also_with_wrong_settings(arguments: str) -> None:
    code, output, _ = await finish(*arguments.split(), "--help", PORT="ninety")

    assert code == 0
    assert output.startswith("Usage: ")
