"""Schemathesis against a real API process: every operation keeps what /openapi.json says of it.

All its checks are on; schemathesis.toml lists the exceptions, each with its reason.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio
import pytest

from front import make_key
from processes import start
from signalstack.api.app import OPERATIONS
from signalstack.core.key import Scope
from tenants import open_pool

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
EXAMPLES: Final = 25  # for each operation, besides those that cover every bound of its schema

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_the_service_keeps_what_its_description_says(
    database_url: str, tmp_path: Path
) -> None:
    async with open_pool(database_url) as pool:
        key = await make_key(pool, "acme", *Scope)

    async with start("api", DATABASE_URL=database_url) as api:
        base = await api.read(r"^API +(\S+)")
        tried = await anyio.run_process(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                *("run", f"{base}/openapi.json", "--no-color", "--continue-on-failure"),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            ],
            env={"SIGNALSTACK_KEY": key},
            cwd=tmp_path,
            check=False,
            stderr=subprocess.STDOUT,
        )

    report = tried.stdout.decode()
    assert tried.returncode == 0, report
    # And /docs; it leaves out /openapi.json, which it has read.
    assert f"Tested: {len(OPERATIONS) + 1}\n" in report
    assert "request_failed" not in api.errors
