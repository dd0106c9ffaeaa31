"""Compiles the dashboards against Grafana's own types; needs Node.js and npm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
BOARDS: Final = HERE.parent / "dashboards"
WORK: Final = HERE.parents[1] / ".tools" / "grafana-schema"
PATIENCE_S: Final = 300
STRICT: Final = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "node10")


def main() -> int:
    """Install the types into .tools, write each dashboard as a typed constant, and compile."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        sys.stderr.write("dashboards-check needs Node.js and npm: apt-get install nodejs npm\n")
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "dashboard.ts"):
        shutil.copy(HERE / name, WORK / name)
    _run(npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    (WORK / "dashboards.ts").write_text("\n".join(_constants()))
    done = _run(node, "node_modules/typescript/bin/tsc", *STRICT, "dashboards.ts", check=False)
    return done.returncode


def _constants() -> list[str]:
    # As literals: what is imported from a JSON file is widened to any string and any number.
    lines = ["import type { AnyDashboard } from './dashboard';"]
    for path in sorted(BOARDS.glob("*.json")):
        name = path.stem.replace("-", "_")
        lines.append(f"export const {name}: AnyDashboard = {path.read_text()};")
    return lines


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - npm and node with arguments of our own
        command, cwd=WORK, check=check, timeout=PATIENCE_S
    )


if __name__ == "__main__":
    sys.exit(main())
