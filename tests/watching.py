"""A real Prometheus with the committed rules, and a real Alertmanager that tells a webhook.

Both run on shortened time: every duration of the committed files (`for`, `keep_firing_for`, ranges,
intervals, waits) is divided by one factor, so that minutes take seconds. Thresholds, expressions,
labels and texts stay as they are, and so do the service's own times.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import httpx2
import msgspec

from alerting import ALERTMANAGER, PROMETHEUS
from programs import find

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

PATIENCE_S: Final = 20.0
LOOK_S: Final = 0.1
OFTEN_MS: Final = 500
# As `for: 5m`, `group_wait: 30s`, `interval: 1m`, and as `[1h]` in an expression.
_KEY: Final = re.compile(
    r"(?m)^( *-? *\w+(?:_interval|_wait|_for)|^ *(?:for|interval)): (\d+)([smhd])\b"
)
_RANGE: Final = re.compile(r"(\[|\boffset )(\d+)([smhd])\b")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Sample(msgspec.Struct, frozen=True):
    """One series of an answer; the value is its text."""

    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(msgspec.Struct, frozen=True, tag_field="resultType", tag="vector"):
    result: list[Sample]


class _Scalar(msgspec.Struct, frozen=True, tag_field="resultType", tag="scalar"):
    result: tuple[float, str]


class _Answer(msgspec.Struct, frozen=True):
    data: _Vector | _Scalar


class _Names(msgspec.Struct, frozen=True):
    data: list[str]


class Prometheus:
    """A running Prometheus; its targets can change."""

    def __init__(self, client: httpx2.AsyncClient, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def scrape(self, *targets: str) -> None:
        """Scrape these and no others from now on."""
        self._list("targets", *targets)

    def tell(self, port: int) -> None:
        """Tell an Alertmanager of alerts from now on."""
        self._list("alertmanagers", f"127.0.0.1:{port}")

    async def query(self, expression: str) -> list[Sample]:
        """Evaluate an expression now."""
        answer = await self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}\n{answer.text}"
        data = msgspec.json.decode(answer.content, type=_Answer).data
        return [Sample({}, data.result)] if isinstance(data, _Scalar) else data.result

    async def names(self) -> set[str]:
        """Tell which metrics there are."""
        answer = await self._client.get("/api/v1/label/__name__/values")
        return set(msgspec.json.decode(answer.content, type=_Names).data)

    async def until(self, expression: str, within_s: float = PATIENCE_S) -> None:
        """Wait until an expression gives anything."""
        with anyio.fail_after(within_s):
            while not await self.query(expression):  # noqa: ASYNC110 - Prometheus sets no event
                await anyio.sleep(LOOK_S)

    def _list(self, part: str, *addresses: str) -> None:
        # Moved into its place: half a file would be read as an error.
        fresh = self._folder / part / "fresh"
        fresh.write_bytes(msgspec.yaml.encode([{"targets": addresses}]))
        fresh.replace(fresh.with_name("here.yml"))


@asynccontextmanager
async def prometheus(*targets: str, faster: float) -> AsyncGenerator[Prometheus]:
    """Run Prometheus on these targets, its time `faster` than in the committed files."""
    with tempfile.TemporaryDirectory(prefix="signalstack-watching-") as name:
        folder = Path(name)
        (folder / "prometheus.yml").write_text(shortened(PROMETHEUS / "prometheus.yml", faster))
        for part in ("rules", "targets", "alertmanagers"):
            (folder / part).mkdir()
        for path in (PROMETHEUS / "rules").glob("*.yml"):
            (folder / "rules" / path.name).write_text(shortened(path, faster))
        port = _free_port()
        command = [
            find("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ]
        async with _running(command, port) as client:
            here = Prometheus(client, folder)
            here.scrape(*targets)
            yield here


@asynccontextmanager
async def alertmanager(webhook: str, *, faster: float) -> AsyncGenerator[int]:
    """Run Alertmanager with the committed routes, telling `webhook`; give its port."""
    with tempfile.TemporaryDirectory(prefix="signalstack-watching-") as name:
        folder = Path(name)
        text = shortened(ALERTMANAGER, faster).replace("http://alerts.invalid", webhook)
        (folder / "alertmanager.yml").write_text(text)
        port = _free_port()
        command = [
            find("prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        async with _running(command, port):
            yield port


def shortened(path: Path, faster: float) -> str:
    """Read a committed file and divide all its durations."""

    def divide(number: str, unit: str, *, least_ms: int = 1) -> str:
        return f"{max(round(int(number) * _UNITS_S[unit] * 1_000 / faster), least_ms)}ms"

    def key(found: re.Match[str]) -> str:
        # Nothing is scraped or evaluated more often than this, to leave the CPU to the service.
        least_ms = OFTEN_MS if "interval" in found[1] else 1
        return f"{found[1]}: {divide(found[2], found[3], least_ms=least_ms)}"

    return _RANGE.sub(lambda m: m[1] + divide(m[2], m[3]), _KEY.sub(key, path.read_text()))


@asynccontextmanager
async def _running(command: Sequence[str], port: int) -> AsyncGenerator[httpx2.AsyncClient]:
    """Run a server until the block ends, and give a client for it once it is ready."""
    process = await anyio.open_process(command, stdin=subprocess.DEVNULL, stdout=None, stderr=None)
    try:
        base = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=base, timeout=PATIENCE_S) as client:
            with anyio.fail_after(PATIENCE_S):
                while not await _is_ready(client):
                    assert process.returncode is None, f"{command[0]} ended while starting"
                    await anyio.sleep(LOOK_S)
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            with anyio.move_on_after(PATIENCE_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx2.TransportError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
