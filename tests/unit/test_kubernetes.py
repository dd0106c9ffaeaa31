"""The Kubernetes manifests: what they promise; `make deployable` holds them to the schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from signalstack import settings

ROOT = Path(__file__).parents[2] / "deploy/kubernetes"
Thing = dict[str, Any]


def read(path: str) -> list[Thing]:
    return list(yaml.safe_load_all((ROOT / path).read_text()))


def pods() -> dict[str, Thing]:
    things = [*read("base/api.yaml"), *read("base/worker.yaml"), *read("migrate/job.yaml")]
    return {
        thing["metadata"]["name"]: thing["spec"]["template"]["spec"]
        for thing in things
        if thing["kind"] in {"Deployment", "Job"}
    }


# What else is done before a process ends: last words, the leader's place given up, spans sent.
LAST_S = 15

every_pod = pytest.mark.parametrize("name", pods())


def test_kustomizations_name_every_file_beside_them_and_no_other() -> None:
    for file in ROOT.rglob("kustomization.yaml"):
        named = cast("Thing", yaml.safe_load(file.read_text()))
        for path in [*named["resources"], *named.get("components", [])]:
            assert (file.parent / path).exists(), f"{file}: {path}"
        beside = {path.name for path in file.parent.glob("*.yaml")} - {file.name}
        assert beside <= set(named["resources"]), file


def test_whatever_is_applied_says_which_namespace_it_belongs_to() -> None:
    base = yaml.safe_load((ROOT / "base/kustomization.yaml").read_text())["namespace"]

    for file in ROOT.rglob("kustomization.yaml"):
        of_all = yaml.safe_load(file.read_text()).get("namespace")
        for path in {*file.parent.glob("*.yaml")} - {file}:
            for thing in yaml.safe_load_all(path.read_text()):
                if thing["kind"] != "Namespace":
                    assert of_all or thing["metadata"].get("namespace") == base, path


@every_pod
def test_pods_keep_to_the_restricted_standard(name: str) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


@every_pod
def test_what_is_secret_comes_from_a_secret(name: str) -> None:
    (container,) = pods()[name]["containers"]

    for variable in container["env"]:
        if "URL" in variable["name"]:
            assert variable["valueFrom"]["secretKeyRef"]["name"] == "signalstack-database"


def test_secret_settings_have_a_place_that_may_be_empty() -> None:
    for name in ("signalstack-api", "signalstack-worker"):
        (container,) = pods()[name]["containers"]
        wanted = {"secretRef": {"name": "signalstack-secrets", "optional": True}}
        assert wanted in container["envFrom"]


def test_only_settings_that_there_are_are_set() -> None:
    known = {name for name, _, _ in settings.describe()}
    (config, _) = read("base/settings.yaml")
    given = set(config["data"])
    for pod in pods().values():
        given |= {variable["name"] for variable in pod["containers"][0]["env"]}

    assert {name for name in given if not name.startswith("OTEL_TRACES_SAMPLER")} <= known


def test_pods_may_end_in_their_own_time() -> None:
    (config, _) = read("base/settings.yaml")
    shutdown_s = int(config["data"]["SHUTDOWN_TIMEOUT"].removesuffix("s"))

    for name in ("signalstack-api", "signalstack-worker"):
        pod = pods()[name]
        paused_s = 5 if "lifecycle" in pod["containers"][0] else 0
        assert pod["terminationGracePeriodSeconds"] > shutdown_s + paused_s + LAST_S


@every_pod
def test_no_process_is_the_first_of_its_pod_which_would_not_hear_sigterm(name: str) -> None:
    assert pods()[name]["shareProcessNamespace"] is True


def test_a_rollout_starts_the_new_before_it_ends_the_old() -> None:
    for part in ("api", "worker"):
        (deployment,) = (it for it in read(f"base/{part}.yaml") if it["kind"] == "Deployment")
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {
            "maxUnavailable": 0,
            "maxSurge": 1,
        }


def test_an_api_is_asked_whether_it_is_ready_and_restarted_only_when_it_hangs() -> None:
    (api,) = pods()["signalstack-api"]["containers"]

    assert api["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert api["livenessProbe"]["httpGet"]["path"] == "/live"
    assert api["startupProbe"]["httpGet"]["path"] == "/live"


def test_a_worker_is_asked_for_its_metrics_since_it_has_no_other_door() -> None:
    (worker,) = pods()["signalstack-worker"]["containers"]

    for probe in ("startupProbe", "livenessProbe"):
        asked = worker[probe]["httpGet"]
        assert asked["path"].startswith("/metrics?")
        assert asked["port"] == "metrics"


def test_every_deployment_keeps_a_pod_while_nodes_are_drained() -> None:
    for part in ("api", "worker"):
        things = {thing["kind"]: thing for thing in read(f"base/{part}.yaml")}
        selector = things["Deployment"]["spec"]["selector"]
        assert things["PodDisruptionBudget"]["spec"]["selector"] == selector
        assert things["Deployment"]["spec"]["replicas"] > 1


def test_the_image_is_the_same_everywhere() -> None:
    images = [
        yaml.safe_load((ROOT / f"{part}/kustomization.yaml").read_text())["images"]
        for part in ("base", "migrate")
    ]

    assert images[0] == images[1]
    assert {pod["containers"][0]["image"] for pod in pods().values()} == {images[0][0]["name"]}
