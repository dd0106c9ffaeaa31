"""Programs of the system that some tests need; there without fail where CI is set."""

from __future__ import annotations

import os
import shutil

import pytest


def find(name: str) -> str:
    """Find a program, also where only administrators look; without it the test is skipped."""
    found = shutil.which(name, path=f"{os.defpath}:/usr/local/bin:/usr/sbin:/usr/local/sbin")
    if found:
        return found
    if os.environ.get("CI"):  # noqa: TID251 - it says who runs the tests
        pytest.fail(f"{name} is missing: .ci/run installs it")
    pytest.skip(f"the system has no {name}")
