"""The pages: whatever they lead to is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from signalstack import Context

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_CODE: Final = re.compile(r"(?s)```.*?```|`[^`\n]*`")
_LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
_HEADING: Final = re.compile(r"(?m)^#+ (.+)$")


def anchors(page: Path) -> set[str]:
    """Name a page's headings as GitHub does in addresses."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: Path) -> None:
    dead: list[str] = []
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)

    assert dead == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    named = {link.partition("#")[0] for link in _LINK.findall(index.read_text())}

    assert {page.name for page in index.parent.glob("*.md")} - named == {index.name}


def test_figures_that_scaling_quotes_stand_in_the_run_that_it_names() -> None:
    (quoted,) = re.findall(
        r"(?s)\(performance\.md#one-run\).*?\.\s", (ROOT / "docs/scaling.md").read_text()
    )
    (run,) = re.findall(r"(?ms)^## One run$.*?^## ", (ROOT / "docs/performance.md").read_text())
    figures = re.findall(r"\d+,\d{3}", quoted)

    assert len(figures) == 3
    assert [figure for figure in figures if f"| {figure} |" not in run] == []


def test_every_chore_is_told_of() -> None:
    rota = (ROOT / "service/signalstack/maintenance/rota.py").read_text()
    chores = set(re.findall(r'(?:\bchore\(|\bname=)"(\w+)"', rota))
    told = re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "docs/operations.md").read_text())

    assert "forget_acts" in chores
    assert chores <= set(told)


def test_all_that_a_handler_may_know_is_told_of() -> None:
    had = {name for name in vars(Context) if not name.startswith("_")}
    told = (ROOT / "docs/job-types.md").read_text()

    assert "deadline" in had
    assert {name for name in had if f"`{name}`" not in told} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_is_named_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        pytest.skip("it tells of what was")
    named = re.findall(
        r"`((?:docs|service|sql|tests|grafana|observability|deploy)/[\w./-]*[\w/])`",
        page.read_text(),
    )

    assert [path for path in named if not (ROOT / path).exists()] == []
