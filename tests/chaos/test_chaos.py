"""A short chaos run of a fixed seed; `make chaos` makes longer ones, of another seed each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 35


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_promises_hold_whatever_is_done_to_the_service(data_dir: Path) -> None:
    summary = await run(data_dir.parent, seed=20_261_122, seconds=SECONDS)

    assert summary.jobs > 0
    # How soon work goes on is for `make chaos` to judge: what else runs here is not known.
    assert [found for found in summary.violations if not found.startswith("R:")] == []
