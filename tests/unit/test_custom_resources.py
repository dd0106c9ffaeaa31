"""The custom resources beside the manifests: their fields, and what KEDA's questions answer.

kubernetes-validate knows no custom resources. The structs here have the fields that we use as the
definitions of KEDA and of the Prometheus Operator name them, and refuse any other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

import promql
from programs import find
from signalstack.telemetry.catalogue import Catalogue

ROOT: Final = Path(__file__).parents[2] / "deploy/kubernetes"
RULES: Final = Path(__file__).parents[2] / "observability/prometheus/rules"
BUILD: Final = ("version", "python", "role")
Positive = Annotated[int, msgspec.Meta(gt=0)]
Duration = Annotated[str, msgspec.Meta(pattern=r"^\d+[smhdw]$")]
Number = Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?$")]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What refuses a field that it does not know."""


class Named(Strict, frozen=True):
    name: str


class Placed(Named, frozen=True):
    namespace: str


class Policy(Strict, frozen=True, rename="camel"):
    type: Literal["Pods", "Percent"]
    value: Positive
    period_seconds: Annotated[int, msgspec.Meta(gt=0, le=1_800)]


class Direction(Strict, frozen=True, rename="camel"):
    stabilization_window_seconds: Annotated[int, msgspec.Meta(ge=0, le=3_600)]
    policies: Annotated[list[Policy], msgspec.Meta(min_length=1)]


class Behavior(Strict, frozen=True, rename="camel"):
    scale_up: Direction
    scale_down: Direction


class Autoscaler(Strict, frozen=True):
    behavior: Behavior


class Advanced(Strict, frozen=True, rename="camel"):
    horizontal_pod_autoscaler_config: Autoscaler


class Fallback(Strict, frozen=True, rename="camel"):
    failure_threshold: Positive
    replicas: Positive


class Question(Strict, frozen=True, rename="camel"):
    """The metadata of the `prometheus` scaler: strings, all of them."""

    server_address: Annotated[str, msgspec.Meta(pattern="^https?://")]
    query: str
    threshold: Number
    ignore_null_values: Literal["true", "false"]


class Trigger(Strict, frozen=True, rename="camel"):
    type: Literal["prometheus"]
    name: str
    metric_type: Literal["AverageValue"]  # a fallback works with no other
    metadata: Question


class Scaling(Strict, frozen=True, rename="camel"):
    scale_target_ref: Named
    min_replica_count: Positive
    max_replica_count: Positive
    polling_interval: Positive
    fallback: Fallback
    advanced: Advanced
    triggers: list[Trigger]


class ScaledObject(Strict, frozen=True, rename="camel"):
    api_version: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Placed
    spec: Scaling


class Selector(Strict, frozen=True, rename="camel"):
    match_labels: dict[str, str]


class Endpoint(Strict, frozen=True):
    port: str
    interval: Annotated[str, msgspec.Meta(pattern=r"^\d+(ms|s|m)$")]


class Monitoring(Strict, frozen=True, rename="camel"):
    job_label: str
    selector: Selector
    pod_metrics_endpoints: list[Endpoint]


class PodMonitor(Strict, frozen=True, rename="camel"):
    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Placed
    spec: Monitoring


class Rule(Strict, frozen=True):
    expr: str
    record: str | None = None
    alert: str | None = None
    for_: Duration | None = msgspec.field(default=None, name="for")
    keep_firing_for: Duration | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Group(Strict, frozen=True):
    name: str
    rules: Annotated[list[Rule], msgspec.Meta(min_length=1)]
    interval: Duration | None = None


class Groups(Strict, frozen=True):
    groups: list[Group]


class PrometheusRule(Strict, frozen=True, rename="camel"):
    api_version: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Placed
    spec: Groups


def read(path: str) -> bytes:
    return (ROOT / path).read_bytes()


def scaling() -> Scaling:
    text = read("components/keda/scaledobject.yaml")
    return msgspec.yaml.decode(text, type=ScaledObject).spec


def workers() -> dict[str, Any]:
    return next(
        thing
        for thing in yaml.safe_load_all(read("base/worker.yaml"))
        if thing["kind"] == "Deployment"
    )


def test_keda_scales_the_workers_by_the_age_and_the_depth_of_queues() -> None:
    given = scaling()

    assert given.scale_target_ref.name == workers()["metadata"]["name"]
    assert [trigger.name for trigger in given.triggers] == ["age", "depth"]
    assert 1 < given.min_replica_count <= given.fallback.replicas <= given.max_replica_count


def test_keda_asks_for_metrics_and_labels_that_there_are() -> None:
    known = {family.name: set(family.labels) for family in Catalogue(BUILD).families}

    for trigger in scaling().triggers:
        asked = list(promql.read(trigger.metadata.query))
        assert asked
        for one in asked:
            assert one.labels <= known[one.metric], trigger.name


def test_every_pod_is_scraped_by_the_name_of_its_port() -> None:
    text = read("components/prometheus-operator/podmonitor.yaml")
    given = msgspec.yaml.decode(text, type=PodMonitor).spec

    (container,) = workers()["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {endpoint.port for endpoint in given.pod_metrics_endpoints} <= ports


def test_the_operator_is_given_all_rules_as_they_are() -> None:
    text = read("components/prometheus-operator/rules.yaml")
    given = msgspec.yaml.decode(text, type=PrometheusRule).spec.groups

    files = (path.read_bytes() for path in sorted(RULES.glob("*.yml")))
    kept = [group for file in files for group in msgspec.yaml.decode(file, type=Groups).groups]
    assert given == kept
    assert kept


def test_the_rules_for_the_operator_are_written_anew_by_make_rules() -> None:
    script = RULES.parents[1] / "rules.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False)

    assert done.returncode == 0, "run `make rules`"


def test_rules_reach_what_the_operator_scrapes() -> None:
    """The rules ask for a job, which is a label of the pods: kustomize gives it to all of them."""
    text = read("components/prometheus-operator/podmonitor.yaml")
    label = msgspec.yaml.decode(text, type=PodMonitor).spec.job_label
    base = yaml.safe_load(read("base/kustomization.yaml"))

    jobs = {
        job
        for path in RULES.glob("*.yml")
        for job in re.findall(r'\bjob="(\w+)"', path.read_text())
    }
    assert [group["pairs"].get(label) for group in base["labels"]] == [*jobs]


def test_a_backlog_is_told_once_whoever_tells_it(tmp_path: Path) -> None:
    leaders = {
        f'signalstack_queue_{name},queue="default"{more},instance="{instance}"': value
        for instance in ("old", "new")
        for name, more, value in (
            ("oldest_seconds", "", 12),
            ("depth", ',status="pending"', 2_500),
            ("depth", ',status="running"', 20),
            ("depth", ',status="scheduled"', 9_000),
            ("paused", "", 0),
        )
    }

    assert_answers(tmp_path, leaders, {"age": [12], "depth": [2_520]})


def test_messages_which_wait_by_design_ask_for_no_workers(tmp_path: Path) -> None:
    messages = {
        'signalstack_queue_oldest_seconds,queue="messages"': 3_600,
        'signalstack_queue_depth,queue="messages",status="pending"': 60_000,
        'signalstack_queue_depth,queue="messages",status="running"': 1,
        'signalstack_queue_paused,queue="messages"': 0,
    }
    others = {
        'signalstack_queue_oldest_seconds,queue="default"': 2,
        'signalstack_queue_depth,queue="default",status="pending"': 30,
        'signalstack_queue_paused,queue="default"': 0,
    }

    assert_answers(tmp_path, messages, {"age": [0], "depth": [0]})
    assert_answers(tmp_path, messages | others, {"age": [2], "depth": [30]})


def test_what_one_tenant_has_paused_asks_for_no_worker_and_hides_nobody_elses(
    tmp_path: Path,
) -> None:
    paused = {
        'signalstack_queue_oldest_seconds,queue="default"': 900,
        'signalstack_queue_depth,queue="default",status="pending"': 30,
        'signalstack_queue_depth,queue="default",status="paused"': 5_000,
        'signalstack_queue_paused,queue="default"': 1,
    }

    assert_answers(tmp_path, paused, {"age": [900], "depth": [30]})


def test_where_nothing_is_told_the_depth_is_missing_so_that_keda_falls_back(tmp_path: Path) -> None:
    assert_answers(tmp_path, {"up": 1}, {"age": [0], "depth": []})
    depth = scaling().triggers[1]
    assert depth.metadata.ignore_null_values == "false"


def assert_answers(folder: Path, series: dict[str, int], expected: dict[str, list[float]]) -> None:
    """Have promtool ask what KEDA asks; it takes a single number for an answer, or none."""
    queries = {trigger.name: trigger.metadata.query for trigger in scaling().triggers}
    test = {
        "interval": "1m",
        "input_series": [
            {"series": _selector(name), "values": f"{value}x1"} for name, value in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": queries[name],
                "eval_time": "1m",
                "exp_samples": [{"labels": "{}", "value": value} for value in values],
            }
            for name, values in expected.items()
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    done = subprocess.run(
        [find("promtool"), "test", "rules", file], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _selector(name: str) -> str:
    metric, _, labels = name.partition(",")
    return f"{metric}{{{labels}}}"
