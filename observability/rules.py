"""Writes the rules as a PrometheusRule; `--check` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import indent
from typing import Final

RULES: Final = Path(__file__).parent / "prometheus" / "rules"
WRITTEN: Final = (
    Path(__file__).parents[1] / "deploy/kubernetes/components/prometheus-operator/rules.yaml"
)
_HEAD: Final = """\
# `make rules` writes it from observability/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: signalstack
  namespace: signalstack # of base: it reaches no components
spec:
  groups:
"""


def written() -> str:
    """Give what belongs into the file: the groups of all files as they are, comments included."""
    return _HEAD + "\n".join(_groups(path.read_text()) for path in sorted(RULES.glob("*.yml")))


def _groups(text: str) -> str:
    comment, _, groups = text.partition("groups:\n")
    return indent(comment, "    ") + indent(groups, "  ")


def main() -> int:
    """Write the file, or with `--check` only say whether it is current."""
    if "--check" in sys.argv[1:]:
        return int(WRITTEN.read_text() != written())
    WRITTEN.write_text(written())
    return 0


if __name__ == "__main__":
    sys.exit(main())
