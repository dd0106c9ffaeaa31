"""Writes the dashboards to grafana/dashboards; `--check` only says whether they are current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from boards import dispatch, job_type, overview, postgresql, queues, webhooks, workers
from boards.board import Board, build

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parents[1] / "dashboards"
BOARDS: Final[tuple[Board, ...]] = (
    overview.BOARD,
    dispatch.BOARD,
    queues.BOARD,
    workers.BOARD,
    webhooks.BOARD,
    postgresql.BOARD,
    job_type.BOARD,
)


def written() -> Iterator[tuple[Path, str]]:
    """Yield each file and what belongs into it."""
    for board in BOARDS:
        text = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(build(board))
        yield FOLDER / f"{board.uid.removeprefix('signalstack-')}.json", text + "\n"


def main(arguments: list[str]) -> int:
    """Write all files and remove those that no dashboard makes any more."""
    files = dict(written())
    if "--check" in arguments:
        return int(any(not p.exists() or p.read_text() != text for p, text in files.items()))
    FOLDER.mkdir(exist_ok=True)
    for path in set(FOLDER.glob("*.json")) - files.keys():
        path.unlink()
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
