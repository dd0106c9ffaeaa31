"""The dashboards: current, readable, and about metrics and pages that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

import alerting
import dashboards
import programs
import promql
from boards import objective
from boards.__main__ import written
from boards.variable import SOURCE_UID
from dashboards import Board, Panel
from signalstack.telemetry.catalogue import Catalogue
from signalstack.telemetry.observer import Telemetry

ROOT: Final = Path(__file__).parents[2]
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
RULES: Final = ROOT / "observability" / "prometheus" / "rules"
BOARDS: Final = dashboards.boards()
EVERY_PANEL: Final = [(board, panel) for board in BOARDS for panel in board.asking]
SUFFIXES: Final = {
    "histogram": ("_bucket", "_sum", "_count"),
    "counter": ("_total",),
    "gauge": ("",),
}
BUILD: Final = ("version", "python", "role")
OF_SCRAPING: Final = {"job", "instance", "le"}
OF_PROMETHEUS: Final[dict[str, set[str] | None]] = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity", "job"},
}
# Named already, and on their way into the catalogue.
COMING: Final[dict[str, set[str] | None]] = {
    f"signalstack_{name}": {*labels, *OF_SCRAPING}
    for name, labels in {
        "retention_removed_total": ["table", "how"],
        "schedule_ticks_total": ["outcome"],
        "schedule_lag_seconds_bucket": [],
        "messages_total": ["outcome"],
        "message_cache_requests_total": ["outcome"],
    }.items()
}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str] | None]:
    """Every series of the service, with the labels that all of its kind have where we say them."""
    labels = {family.name: {*family.labels, *OF_SCRAPING} for family in Catalogue(BUILD).families}
    found = COMING | OF_PROMETHEUS
    for family in Telemetry(version="0").registry.collect():
        for suffix in SUFFIXES.get(family.type, ()):
            name = family.name + suffix
            found[name] = labels.get(name, labels.get(family.name))
    return found


def test_the_files_are_what_the_code_makes() -> None:
    made = dict(written())

    stale = [path.name for path, text in made.items() if path.read_text() != text]

    assert stale == [], "make dashboards"
    assert set(made) == set(dashboards.FOLDER.glob("*.json"))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_have_ids_of_their_own(board: Board) -> None:
    ids = [panel.id for panel in board.panels]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_lie_side_by_side_and_never_on_each_other(board: Board) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board.panels:
        place = panel.grid_pos
        for x in range(place.x, place.x + place.w):
            for y in range(place.y, place.y + place.h):
                assert (x, y) not in taken, (panel.title, taken[x, y])
                taken[x, y] = panel.title

    assert max(x for x, _ in taken) < 24
    lowest = max(y for _, y in taken)
    assert {y for _, y in taken} == set(range(lowest + 1)), "a gap"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_laptop_shows_figures_first_and_four_panels_a_row_at_most(board: Board) -> None:
    rows: dict[int, list[Panel]] = {}
    for panel in board.asking:
        rows.setdefault(panel.grid_pos.y, []).append(panel)

    assert all(panel.type == "stat" for panel in rows[0])
    assert max(map(len, rows.values())) <= 4


def test_each_panel_says_what_is_good_and_what_to_do() -> None:
    words = re.compile(r".+\.\n\n\*\*Good:\*\* .+\.\n\n\*\*Otherwise:\*\* .+\.")

    silent = [
        f"{board.uid}: {panel.title}"
        for board, panel in EVERY_PANEL
        if not words.fullmatch(panel.description)
    ]

    assert silent == []


def test_each_panel_has_a_unit() -> None:
    without = [
        f"{board.uid}: {panel.title}"
        for board, panel in EVERY_PANEL
        if not panel.field_config.defaults.unit
        and not panel.field_config.overrides
        and "yAxis" not in panel.options
    ]

    assert without == []


def test_each_dashboard_opens_with_figures_that_are_coloured() -> None:
    plain = [
        board.uid
        for board in BOARDS
        if not any(len(panel.field_config.defaults.thresholds.steps) > 1 for panel in board.asking)
    ]

    assert plain == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_declares_each_variable_that_it_uses(board: Board) -> None:
    declared = {variable.name for variable in board.templating.entries}
    used = {
        name
        for panel in board.asking
        for target in panel.targets
        for name in re.findall(r"\$\{?(\w+)", target.expr)
        if not name.startswith("__")
    }

    assert used <= declared
    assert {"datasource", "job", "runbooks"} <= declared


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_all_jobs_and_processes_are_ours_on_a_prometheus_that_others_share(board: Board) -> None:
    of_all = {variable.name: variable.all_value for variable in board.templating.entries}

    assert {of_all[name] for name in ("job", "instance") if name in of_all} == {None}


UNTOLD = (
    *(("signalstack-overview", number) for number in (7, 15)),
    *(("signalstack-queues", number) for number in (1, 2, 3, 4, 17)),
    ("signalstack-webhooks", 4),
)
WELL = {
    'signalstack_listener_up{job="a"}': 1,
    'signalstack_queue_depth{job="a",queue="messages",status="pending"}': 0,
    'signalstack_queue_oldest_seconds{job="a",queue="default"}': 0,
    'signalstack_queue_workers{job="a",queue="messages"}': 1,
    'signalstack_queue_paused{job="a",queue="messages"}': 0,
    'signalstack_queue_gauges_timestamp_seconds{job="a"}': 60,
}


@pytest.mark.parametrize(("series", "shown"), [({}, []), (WELL, [{"labels": "{}", "value": 0}])])
def test_what_nobody_tells_is_a_dash_and_no_zero(
    series: dict[str, int], shown: list[object], tmp_path: Path
) -> None:
    asked = [each for each in dashboards.asked() if (each.board, each.number) in UNTOLD]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": f"{value}x1"} for name, value in series.items()
        ],
        "promql_expr_test": [
            {"expr": each.expression, "eval_time": "1m", "exp_samples": shown} for each in asked
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))

    done = subprocess.run(
        [programs.find("promtool"), "test", "rules", file],
        check=False,
        capture_output=True,
        text=True,
    )

    assert len(asked) == len(UNTOLD)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_is_about_metrics_that_exist(known: dict[str, set[str] | None]) -> None:
    unknown = {
        f"{asked.board}#{asked.number}: {found.metric}"
        for asked in dashboards.asked()
        for found in promql.read(asked.expression)
        if found.metric not in known
    }

    assert unknown == set()


def test_every_expression_asks_for_labels_that_the_metric_has(
    known: dict[str, set[str] | None],
) -> None:
    unknown: set[str] = set()
    for asked in dashboards.asked():
        for found in promql.read(asked.expression):
            has = known.get(found.metric)
            wanted = found.labels - has if has is not None else set[str]()
            unknown |= {
                f"{asked.board}#{asked.number}: {found.metric}{{{each}}}" for each in wanted
            }

    assert unknown == set()


def test_every_grouping_is_by_labels_that_a_metric_of_it_has(
    known: dict[str, set[str] | None],
) -> None:
    unknown: set[str] = set()
    for asked in dashboards.asked():
        has = [known.get(found.metric) for found in promql.read(asked.expression)]
        if None not in has:
            wanted = promql.grouped(asked.expression).difference(*filter(None, has))
            unknown |= {f"{asked.board}#{asked.number}: by {each}" for each in wanted}

    assert unknown == set()


def test_prometheus_can_parse_every_expression(tmp_path: Path) -> None:
    expressions = [each.expression for each in dashboards.asked()]
    expressions += [
        dashboards.substituted(drawn.expr)
        for board in BOARDS
        for drawn in board.annotations.entries
    ]
    rules = [{"record": f"n{n}", "expr": expression} for n, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = subprocess.run(
        [programs.find("promtool"), "check", "rules", "--lint=none", file],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("expression", "is_loose"),
    [
        ("(sum(rate(a[5m]))) or vector(0) / (sum(b) > 0)", True),
        ("((sum(rate(a[5m])) or vector(0)) / (sum(b) > 0))", False),
        ("max(x - 1) or vector(0)", False),
        ('max(a{b=~"c or d - e"} or on (f) b) * 2', False),
        ("topk(3, a or b > 1)", True),
        ("a and b or c", True),
        ("a == 0 or (b and on () sum(c) > 0)", True),
    ],
)
def test_an_or_beside_another_operator_is_found(expression: str, *, is_loose: bool) -> None:
    assert promql.loose(expression) is is_loose


def test_no_expression_leaves_the_precedence_of_or_to_the_reader() -> None:
    asked = [(f"{each.board}#{each.number}", each.expression) for each in dashboards.asked()]
    asked += [(rule.alert or rule.record or "", rule.expr) for rule in alerting.rules()]

    assert {name for name, expression in asked if promql.loose(expression)} == set()


def test_links_lead_to_dashboards_that_exist() -> None:
    uids = {board.uid for board in BOARDS}
    missing = {
        link.url
        for _, panel in EVERY_PANEL
        for link in (*panel.links, *panel.field_config.defaults.links)
        if (found := re.match(r"/d/([\w-]+)\?", link.url)) and found[1] not in uids
    }

    assert missing == set()


def test_links_lead_to_runbooks_that_exist() -> None:
    pages = {
        f"{found[1]}.md"
        for _, panel in EVERY_PANEL
        for link in panel.links
        if (found := re.fullmatch(r"\$\{runbooks\}/(\w+)\.md", link.url))
    }

    assert pages
    assert pages - {path.name for path in RUNBOOKS.glob("*.md")} == set()


def test_alerts_lead_to_dashboards_that_exist() -> None:
    uids = {board.uid for board in BOARDS}
    named = {
        uid
        for path in RULES.glob("*.yml")
        for uid in re.findall(r"dashboard: /d/([\w-]+)", path.read_text())
    }

    assert named <= uids


def test_dashboards_and_recording_rules_measure_the_same_objective() -> None:
    recorded = (RULES / "recording.yml").read_text()

    assert f'le="{objective.DISPATCH_BOUND}"' in recorded
    assert objective.DISPATCH_WAKES in recorded
    assert objective.HTTP_ASKED in recorded
    for errors, target in (
        ("dispatch_slow", objective.DISPATCH_TARGET),
        ("http_errors", objective.HTTP_TARGET),
    ):
        assert f"signalstack:{errors}:ratio_rate30d / {1 - target:.6g}\n" in recorded


def test_grafana_is_provisioned_with_the_source_that_the_dashboards_ask() -> None:
    provisioned = yaml.safe_load(
        (ROOT / "grafana/provisioning/datasources/signalstack.yaml").read_text()
    )
    sources = {source["uid"]: source for source in provisioned["datasources"]}

    traces = sources[SOURCE_UID]["jsonData"]["exemplarTraceIdDestinations"]
    assert [trace["datasourceUid"] for trace in traces] == ["tempo"]
    assert "tempo" in sources
