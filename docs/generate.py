"""Writes the parts of the documentation that the code already says."""

from __future__ import annotations

import sys
from pathlib import Path

from signalstack import settings

PAGE = Path(__file__).parent / "configuration.md"
START, END = "<!-- variables: `make docs` writes them -->\n", "<!-- /variables -->\n"


def configuration(page: str) -> str:
    """Give the page back with its table of variables brought up to date."""
    head, _, rest = page.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}{_table()}{END}{tail}"


def _table() -> str:
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, default, meaning in settings.describe():
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Rewrite the page, or with `--check` only say whether it is current."""
    page = PAGE.read_text()
    current = configuration(page)
    if "--check" in sys.argv[1:]:
        return int(page != current)
    PAGE.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
