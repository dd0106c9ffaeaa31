"""The pages: whatever they lead to is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_is_named_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        pytest.skip("it tells of what was")
    named = re.findall(
        r"`((?:docs|service|sql|tests|grafana|observability|deploy)/[\w./-]*[\w/])`",
        page.read_text(),
    )

    assert [path for path in named if not (ROOT / path).exists()] == []
