#!/usr/bin/env python3
"""Tells a container engine whether the process beside it is alive: exit code 0, or 1 and why.

Every role serves /metrics from a thread; one with an API must also answer /live from its event
loop. A worker whose event loop hangs ends itself, so its metrics are proof enough.
"""

from __future__ import annotations

import os
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

PATIENCE_S = 3


def main() -> int:
    """Ask what a process of its role has to answer."""
    environ = os.environ  # noqa: TID251 - stands alone in the image, where no settings are read
    metrics = environ.get("METRICS_PORT") or "9464"
    api = environ.get("PORT") or "8080"
    try:
        about = _get(f"http://127.0.0.1:{metrics}/metrics?name[]=signalstack_build_info")
        if 'role="worker"' not in about:
            _get(f"http://127.0.0.1:{api}/live")
    except (URLError, OSError) as error:
        print(error)  # noqa: T201 - engines show it beside the state
        return 1
    return 0


def _get(url: str) -> str:
    # Proxies of the environment are for the way out.
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE_S) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    sys.exit(main())
