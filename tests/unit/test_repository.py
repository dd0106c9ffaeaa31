"""The house rules that no linter holds by itself, and what the wheel carries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_HOSTS = {"https://pypi.org", "https://files.pythonhosted.org"}
VAGUE_NAMES = {"utils", "helpers", "common", "manager", "base", "misc"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_imports_run_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def test_every_module_says_what_it_owns() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "service").rglob("*.py")
        if not re.match(r'r?"""[A-Z].*[.;:?!]?', path.read_text())
    ]

    assert silent == []


def test_no_module_has_a_vague_name() -> None:
    vague = [path for path in (ROOT / "service").rglob("*.py") if path.stem in VAGUE_NAMES]

    assert vague == []


def test_every_exception_from_a_rule_has_a_code_and_a_reason() -> None:
    bare = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)(?!(: |\[)[\w\-, ]+\]? - \w)")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("service", "tests", "docs")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if bare.search(line)
    ]

    assert found == []


def test_the_lock_names_public_hosts_only() -> None:
    lock = (ROOT / "uv.lock").read_text()

    assert set(re.findall(r"\w+://[^/\"]*", lock)) == PUBLIC_HOSTS
    assert re.findall(r'(?:path|directory|url) = "(?!https://)', lock) == []


@pytest.mark.slow
def test_the_wheel_carries_the_sql_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    for path in (ROOT / "sql").rglob("*.sql"):
        assert f"signalstack/{path.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "service/signalstack").rglob("*.py"):
        assert path.relative_to(ROOT / "service").as_posix() in names
    assert "signalstack/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("signalstack/", "signalstack-")) for name in names)


@pytest.mark.slow
def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "from signalstack.store.sqlfiles import sql_root\n"
        "import signalstack.__main__\n"
        "print(sql_root())"
    )
    environ = {"PYTHONPATH": str(tmp_path), "PATH": os.defpath}

    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, check=True, capture_output=True, text=True
    )

    assert Path(done.stdout.strip()) == tmp_path / "signalstack/sql"
