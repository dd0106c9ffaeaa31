"""Runs Prometheus, as Debian packages it, with the project's rules on a running service.

    python observability/observe.py [--port 9090] [HOST:PORT …]

Without addresses it scrapes METRICS_HOST and METRICS_PORT, as `signalstack up` serves them. Its
data go to a temporary folder and are gone when it ends.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from signalstack import settings
from signalstack.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMITTED: Final = Path(__file__).parent / "prometheus"
PATIENCE_S: Final = 30.0
LOOK_S: Final = 0.1
CLOSING_S: Final = 10.0
MISSING: Final = (
    "Prometheus is missing: `apt-get install --no-install-recommends prometheus` brings it on"
    " Debian and Ubuntu (its own service may stay stopped), https://prometheus.io/download/"
    " elsewhere."
)


def main() -> None:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Run Prometheus on a running SignalStack.")
    parser.add_argument("targets", nargs="*", metavar="HOST:PORT", help="where /metrics is served")
    parser.add_argument("--port", type=int, default=9090, help="of Prometheus, on 127.0.0.1")
    given = parser.parse_args()
    program = shutil.which("prometheus")
    if program is None:
        _fail(MISSING)
    targets = given.targets or [_default_target()]
    for target in targets:
        if not _answers(f"http://{target}/metrics"):
            sys.stderr.write(f"{target} does not answer yet: is the service running (`make up`)?\n")
    with tempfile.TemporaryDirectory(prefix="signalstack-prometheus-") as folder:
        arrange(Path(folder), targets)
        _run(program, Path(folder), given.port)


def arrange(folder: Path, targets: Sequence[str]) -> None:
    """Put the committed configuration in place, with these targets beside it."""
    shutil.copy(COMMITTED / "prometheus.yml", folder)
    shutil.copytree(COMMITTED / "rules", folder / "rules")
    (folder / "alertmanagers").mkdir()  # none: alerts are shown, and sent to nobody
    (folder / "targets").mkdir()
    listed = ", ".join(f'"{target}"' for target in targets)
    (folder / "targets" / "signalstack.yml").write_text(f"- targets: [{listed}]\n")


def _run(program: str, folder: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    if _answers(f"{url}/-/ready"):
        _fail(f"Port {port} is taken by another Prometheus: give --port (ARGS='--port 9091').")
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    # SIGTERM as Ctrl-C: Prometheus must not stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(command) as process:  # noqa: S603 - the program that was looked up
        try:
            _await(process, url)
            # Debian's package has the pages of old alone.
            pages = url if _answers(f"{url}/alerts") else f"{url}/classic"
            sys.stdout.write(
                f"Prometheus {url}\nalerts     {pages}/alerts\ntargets    {pages}/targets\n"
                "Ctrl-C ends it and removes its data.\n"
            )
            sys.stdout.flush()
            process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait(CLOSING_S)
    if process.returncode > 0:
        _fail(f"Prometheus ended with code {process.returncode}; what it said stands above.")


def _await(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(int(PATIENCE_S / LOOK_S)):
        try:
            process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            if _answers(f"{url}/-/ready"):
                return
        else:
            return
    process.terminate()
    _fail(f"Prometheus was not ready within {PATIENCE_S:.0f} s.")


def _default_target() -> str:
    try:
        found = settings.load()
    except SettingsError as error:
        _fail(str(error))
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(found.metrics_host, found.metrics_host)  # noqa: S104 - it is compared
    return f"{host}:{found.metrics_port}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - http, made above
            return answer.status == 200  # noqa: PLR2004 - as HTTP has it
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _fail(sentence: str) -> NoReturn:
    sys.stderr.write(sentence + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
