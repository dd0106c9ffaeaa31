"""docker-compose.yml and the Dockerfile: what they promise, and that what they name is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from programs import find
from signalstack import settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
ENDS = {"migrate"}
# What else is done before a process ends: last words, the leader's place given up, spans sent.
LAST_S = 15
# Of SignalStack's own settings: what the file fixes, what the image says, and what has no use here.
FIXED = {"DATABASE_URL", "SHUTDOWN_TIMEOUT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
OF_THE_IMAGE = {"HOST", "PORT", "METRICS_HOST", "METRICS_PORT", "LOG_FORMAT", "HOME"}
NO_USE = {
    *("LISTEN_DATABASE_URL", "WORKER_LISTEN", "XDG_DATA_HOME"),
    *("OTEL_SERVICE_NAME", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
}
# Images that hold one program and no shell: nothing in them could ask.
SILENT = {"otel-collector", "tempo"}
SECRETS = re.compile(r"PASSWORD|SECRET|KEY|TOKEN")
SERVICES = cast("dict[str, dict[str, Any]]", yaml.safe_load(COMPOSE.read_text())["services"])

every_service = pytest.mark.parametrize("name", SERVICES)


def test_everything_that_was_promised_is_there() -> None:
    assert set(SERVICES) == {
        *("postgres", "migrate", "api", "worker-1", "worker-2"),
        *("prometheus", "alertmanager", "grafana", "otel-collector", "tempo"),
    }


@every_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")

    assert re.search(r"\d+\.\d+", tag), SERVICES[name]["image"]
    assert "latest" not in tag


@every_service
def test_services_can_do_no_more_than_they_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert {"mem_limit", "cpus", "pids_limit", "restart", "logging", "networks"} <= set(service)


@every_service
def test_services_say_whether_they_are_well(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})

    if name in ENDS:
        assert check == {"disable": True}
    elif name in SILENT:
        assert check == {}
    else:
        assert check["test"][0] == "CMD"


@every_service
def test_ports_are_published_on_the_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@every_service
def test_no_secret_stands_in_the_open(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRETS.search(variable):
            assert re.fullmatch(r"\$\{\w+:(\?.+|-)\}", value), f"{variable}: {value}"


def test_the_example_of_secrets_names_all_that_must_be_set_and_sets_none() -> None:
    example = (ROOT / ".env.example").read_text()

    needed = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    offered = set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text())) - {"SIGNALSTACK_VERSION"}

    assert needed == {"POSTGRES_PASSWORD", "GRAFANA_ADMIN_PASSWORD"}
    assert needed <= set(re.findall(r"^(\w+)=''$", example, re.MULTILINE))
    assert offered <= set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["api", "worker-1", "worker-2"])
def test_every_other_setting_is_handed_on_and_keeps_its_own_default(name: str) -> None:
    environment = cast("dict[str, str]", SERVICES[name]["environment"])
    variables = {variable for variable, *_ in settings.describe()}

    passed = {each for each, value in environment.items() if value == f"${{{each}:-}}"}

    assert passed == variables - FIXED - OF_THE_IMAGE - NO_USE
    assert set(environment) - passed >= FIXED


@every_service
def test_what_is_mounted_exists_and_cannot_be_written(name: str) -> None:
    volumes = cast("list[str]", SERVICES[name].get("volumes", []))
    for source, _, options in (
        (*volume.split(":"), "")[:3] for volume in volumes if volume.startswith("./")
    ):
        assert (ROOT / source).exists(), source
        assert options == "ro"


def test_only_who_needs_the_database_can_reach_it() -> None:
    compose = cast("dict[str, Any]", yaml.safe_load(COMPOSE.read_text()))
    near = {name for name, service in SERVICES.items() if "data" in service["networks"]}

    assert compose["networks"]["data"] == {"internal": True}
    assert near == {"postgres", "migrate", "api", "worker-1", "worker-2"}


def test_nothing_serves_before_the_schema_is_there() -> None:
    for name in ("api", "worker-1", "worker-2"):
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }


def test_processes_may_end_in_their_own_time() -> None:
    for name in ("api", "worker-1", "worker-2"):
        patience_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        shutdown_s = int(SERVICES[name]["environment"]["SHUTDOWN_TIMEOUT"].removesuffix("s"))
        assert patience_s > shutdown_s + LAST_S


def test_no_process_of_ours_is_the_first_which_would_not_hear_sigterm() -> None:
    for name in ("migrate", "api", "worker-1", "worker-2"):
        assert SERVICES[name]["init"] is True


def test_postgresql_has_the_settings_that_the_pages_ask_for() -> None:
    given = dict(flag[2:].split("=") for flag in SERVICES["postgres"]["command"][1:])
    pages = [(ROOT / "docs" / name).read_text() for name in ("deploy.md", "reliability.md")]
    of_postgresql = {"idle_session_timeout": "0", "synchronous_commit": "on", "fsync": "on"}

    for page in pages:
        asked = re.findall(r"`([a-z_]+) = (\w+)`", page)
        assert ("min_wal_size", "512MB") in asked
        for name, value in asked:
            have = given.get(name) or of_postgresql.get(name)
            assert have is not None, name
            assert have.removesuffix("s") == value.removesuffix("s"), name


def test_each_process_is_a_target_of_prometheus() -> None:
    targets = yaml.safe_load((ROOT / "deploy/compose/prometheus/targets/compose.yml").read_text())

    named = {target.split(":")[0] for group in targets for target in group["targets"]}

    assert named == {name for name in SERVICES if name == "api" or name.startswith("worker")}


def test_prometheus_takes_what_is_mounted_into_it(tmp_path: Path) -> None:
    promtool = find("promtool")
    for volume in SERVICES["prometheus"]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("./"):
            to = tmp_path / target.removeprefix("/etc/prometheus/")
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, to)

    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "rule files found" in done.stdout


@pytest.mark.parametrize(
    "url", ["https://pager.example.com/hook?a=1&b=2|3", "http://alerts.invalid"]
)
def test_the_receiver_of_alerts_is_put_into_the_shared_file(tmp_path: Path, url: str) -> None:
    (script,) = SERVICES["alertmanager"]["command"]
    script = (
        script.replace("$$", "$")
        .replace("/tmp/", f"{tmp_path}/")  # noqa: S108 - of the container
        .replace(
            "/etc/alertmanager/signalstack.yml",
            str(ROOT / "observability/alertmanager/alertmanager.yml"),
        )
        .replace("exec /bin/alertmanager", "echo")
    )

    subprocess.run(
        ["/bin/sh", "-euc", script],
        check=True,
        capture_output=True,
        env={"PATH": os.defpath, "ALERT_WEBHOOK_URL": url},
    )

    said = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    urls = [hook["url"] for receiver in said["receivers"] for hook in receiver["webhook_configs"]]
    assert urls == [url, url]


@pytest.mark.parametrize(
    ("secrets", "taken", "says"),
    [
        ("POSTGRES_PASSWORD=a\nGRAFANA_ADMIN_PASSWORD=b\n", True, ""),
        ("POSTGRES_PASSWORD=a\n", False, "choose a password for Grafana"),
        ("GRAFANA_ADMIN_PASSWORD=b\n", False, "choose a password for PostgreSQL"),
    ],
)
def test_docker_compose_takes_the_file_once_the_secrets_are_chosen(
    tmp_path: Path, secrets: str, *, taken: bool, says: str
) -> None:
    compose = find("docker-compose")
    variables = tmp_path / "env"
    variables.write_text(secrets)

    done = subprocess.run(
        [compose, "--file", COMPOSE, "--env-file", variables, "config", "--quiet"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
    )

    assert (done.returncode == 0) is taken, done.stderr
    assert says in done.stderr


def test_what_stands_in_single_quotes_is_taken_as_it_is(tmp_path: Path) -> None:
    compose = find("docker-compose")
    awkward = 'a$b #c "d"'
    variables = tmp_path / "env"
    example = (ROOT / ".env.example").read_text()
    variables.write_text(re.sub(r"(?m)^(\w+_PASSWORD)=''$", rf"\1='{awkward}'", example))

    done = subprocess.run(
        [compose, "--file", COMPOSE, "--env-file", variables, "config"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
    )

    said = yaml.safe_load(done.stdout)["services"]
    # What it says can be read as a file again, so that a dollar is doubled.
    taken = awkward.replace("$", "$$")
    assert said["postgres"]["environment"]["POSTGRES_PASSWORD"] == taken
    assert said["api"]["environment"]["PGPASSWORD"] == taken
    assert said["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == taken


def test_the_image_is_small_safe_and_built_from_the_lock() -> None:
    text = (ROOT / "Dockerfile").read_text()
    uv = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())

    assert uv is not None
    assert f"uv=={uv[1]}" in text
    assert len(set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))) == 1
    assert re.search(r"^FROM python:3\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert text.count("uv sync --locked --no-dev --extra redis --extra phonenumbers") == 2
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["signalstack"]' in text
    assert "HEALTHCHECK" in text


def test_what_the_image_is_built_from_is_sent_to_the_engine() -> None:
    sent = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(
        r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )

    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert any(name == part or name.startswith(f"{part}/") for part in sent), name
