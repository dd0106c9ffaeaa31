"""`signalstack demo` as a newcomer runs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from processes import finish
from signalstack.demo.stopwatch import STAGES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


async def test_shows_every_stage_of_one_event_and_leaves_nothing_behind(data_dir: Path) -> None:
    code, output, errors = await finish("demo", "--data-dir", data_dir.parent)

    assert (code, errors) == (0, "")
    for row in (*STAGES, "answered", "received", "settled"):
        assert re.search(rf"^│ {row} +│ +\d+\.\d\d │ +\d+\.\d\d │", output, re.MULTILINE), output
    assert "signature verified" in output
    assert list(data_dir.parent.iterdir()) == []


async def test_touches_no_database_of_the_user(data_dir: Path) -> None:
    nobody = "postgresql://127.0.0.1:1/nobody"

    code, _, errors = await finish("demo", "--data-dir", data_dir.parent, DATABASE_URL=nobody)

    assert code == 0, errors


async def test_says_what_failed_and_shows_the_log(data_dir: Path) -> None:
    # No connection is ever made within a millisecond.
    code, output, errors = await finish(
        "demo", "--data-dir", data_dir.parent, REQUEST_TIMEOUT="1ms"
    )

    assert code == 1
    assert output == ""
    assert "\nsignalstack: " in f"\n{errors}"
    assert "Traceback" not in errors
    assert list(data_dir.parent.iterdir()) == []
