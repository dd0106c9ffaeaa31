"""Runs a bench of this folder as `make` does, for the tests of its front door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_bench(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `growth` or `peers`, to its end."""
    command = [sys.executable, str(Path(__file__).parent / name / "run.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
