"""Every rule is valid, tested and documented; promtool and amtool are the judges of the files."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from alerting import ALERTMANAGER, PROMETHEUS, ROOT, RUNBOOKS, Rule, alerts, runbooks
from programs import find

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted({rule.alert or "" for rule in alerts()})
SECTIONS = ["What it means", "How to look", "What to do", "When it is over"]


def run(program: str, *arguments: str | Path) -> str:
    command = [find(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration() -> None:
    run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_prometheus_takes_the_rules_and_finds_no_two_alike() -> None:
    said = run("promtool", "check", "rules", *sorted((PROMETHEUS / "rules").glob("*.yml")))

    assert "duplicate" not in said


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda p: p.stem)
def test_alerts_fire_when_they_should_and_not_when_they_should_not(path: Path) -> None:
    run("promtool", "test", "rules", path)


def test_alertmanager_takes_the_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_tested_firing(name: str) -> None:
    tests = "".join(path.read_text() for path in (PROMETHEUS / "tests").glob("*.yml"))

    assert re.search(rf'labels: \'\{{alertname="{name}"[,}}]|alertname: {name}\n', tests)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule.alert}-{rule.labels}")
def test_each_alert_says_how_bad_it_is_and_where_to_read_on(rule: Rule) -> None:
    assert rule.labels["severity"] in {"critical", "warning"}
    assert set(rule.annotations) == {"summary", "description", "runbook_url", "dashboard"}
    assert (ROOT / rule.annotations["runbook_url"]) == RUNBOOKS / f"{rule.alert}.md"
    assert rule.annotations["dashboard"].startswith("/d/signalstack-")
    if re.search(r"[<>] [\d.]+[^)]*$", rule.expr):  # a measure, so tell it
        assert "{{ $value" in rule.annotations["description"]


def test_no_text_asks_for_a_label_that_the_rule_itself_adds() -> None:
    for rule in alerts():
        for text in rule.annotations.values():
            # Prometheus puts them on the alert only after the texts are written.
            assert not set(rule.labels) & set(re.findall(r"\$labels\.(\w+)", text)), rule.alert


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    assert sorted(runbooks()) == NAMES


def test_each_page_says_the_four_things_and_the_index_lists_it() -> None:
    index = (RUNBOOKS / "README.md").read_text()

    for name, text in runbooks().items():
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS, name
        assert f"[{name}]({name}.md)" in index
        for target in re.findall(r"\]\((\w+\.md)\)", text):
            assert (RUNBOOKS / target).is_file(), f"{name} leads to {target}"


def test_the_index_tells_each_severity() -> None:
    index = (RUNBOOKS / "README.md").read_text()

    for name in NAMES:
        severities = dict.fromkeys(r.labels["severity"] for r in alerts() if r.alert == name)
        assert f"[{name}]({name}.md) | {', '.join(severities)} |" in index


def test_who_inhibits_and_who_is_inhibited_exists() -> None:
    patterns = re.findall(r'alertname=~?"([^"]+)"', ALERTMANAGER.read_text())

    assert patterns
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in NAMES), pattern
