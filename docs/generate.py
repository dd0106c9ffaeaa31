"""Writes the parts of the documentation that the code already says."""

from __future__ import annotations

import sys
from pathlib import Path

from signalstack import settings
from signalstack.telemetry import catalogue

HERE = Path(__file__).parent


def _between(page: str, subject: str, table: str) -> str:
    """Give the page back with the table between its marks brought up to date."""
    start, end = f"<!-- {subject}: `make docs` writes them -->\n", f"<!-- /{subject} -->\n"
    head, _, rest = page.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}{table}{end}{tail}"


def _metrics() -> str:
    rows = ["| metric | labels | what it means, and what to do |", "| --- | --- | --- |"]
    for name, kind, labels, meaning in catalogue.describe():
        words = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{name}`<br>{kind} | {words} | {meaning} |")
    return "\n".join(rows) + "\n"


def _variables() -> str:
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, default, meaning in settings.describe():
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(rows) + "\n"


TABLES = {
    "configuration": ("variables", _variables),
    "metrics": ("metrics", _metrics),
}


def main() -> int:
    """Rewrite the pages, or with `--check` only say whether they are current."""
    stale = 0
    for name, (subject, table) in TABLES.items():
        page = HERE / f"{name}.md"
        text = page.read_text()
        current = _between(text, subject, table())
        stale += text != current
        if "--check" not in sys.argv[1:]:
            page.write_text(current)
    return min(stale, 1) if "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
