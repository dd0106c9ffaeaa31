"""Every dependency is pinned to files that are known by their hash, and comes from PyPI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PYPI: Final = {"registry": "https://pypi.org/simple"}
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture(scope="module")
def packages() -> list[dict[str, Any]]:
    """List what is locked, without the project itself."""
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    others = [package for package in locked if package["name"] != "signalstack"]
    assert len(locked) == len(others) + 1
    assert others
    return others


def test_every_locked_file_has_a_hash(packages: list[dict[str, Any]]) -> None:
    for package in packages:
        files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
        assert files, package["name"]
        unhashed = [file for file in files if not _HASH.fullmatch(file.get("hash", ""))]
        assert unhashed == [], package["name"]


def test_every_dependency_has_a_version_of_pypi(packages: list[dict[str, Any]]) -> None:
    elsewhere = {one["name"]: one["source"] for one in packages if one["source"] != PYPI}
    assert elsewhere == {}
    assert all(package["version"] for package in packages)


def test_what_builds_the_wheel_has_the_versions_of_the_lock(
    packages: list[dict[str, Any]],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = {one["name"]: one for one in packages}
    builders, found = {"hatchling"}, set[str]()
    while new := builders - found:
        found |= new
        builders |= {need["name"] for name in new for need in locked[name].get("dependencies", ())}

    held = project["tool"]["uv"]["build-constraint-dependencies"]
    assert sorted(held) == sorted(f"{name}=={locked[name]['version']}" for name in builders)


def test_nothing_is_asked_for_by_url_path_or_another_index() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["build-system"]["requires"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *(one for group in project["dependency-groups"].values() for one in group),
    ]
    by_url = [one for one in wanted if "@" in one or "://" in one]
    assert by_url == []
    unbounded = [one for one in wanted if not re.search(r"[<>=~]=?|^signalstack\[", one)]
    assert unbounded == []
    assert {"sources", "index", "index-url", "extra-index-url"}.isdisjoint(
        project.get("tool", {}).get("uv", {})
    )


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_whatever_installs_holds_to_the_lock(file: str) -> None:
    installs = re.findall(r"\buv,? ?sync\b[^\n]*", (ROOT / file).read_text())
    assert installs
    assert all("--locked" in line for line in installs)


def test_image_and_clone_are_made_by_the_same_uv() -> None:
    (of_clone,) = re.findall(r"UV_VERSION := ([\d.]+)", (ROOT / "Makefile").read_text())
    assert re.findall(r"uv==([\d.]+)", (ROOT / "Dockerfile").read_text()) == [of_clone]
