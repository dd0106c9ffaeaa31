"""Makes the environments of the peers under .peers/, with the versions that are pinned here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.peers.roster import Peer

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
CACHE: Final = ROOT / ".peers"
ADAPTERS: Final = HERE / "adapters"
PINS: Final = HERE / "environments"
UV: Final = ROOT / ".tools" / "uv" / "bin" / "uv"
NODE: Final = "node"
_PATIENCE_S: Final = 600


class InstallError(Exception):
    """An environment cannot be made; the message says what is missing."""


def install(peers: Iterable[Peer]) -> None:
    """Make the environments that are not there yet, or whose pins changed.

    Raises:
        InstallError: a program is missing, or what another build of ours needs.
    """
    peers = list(peers)
    for peer in peers:
        if peer.checkout is not None and not _python(peer).exists():
            raise InstallError(f"{peer.checkout} has no environment: run `make setup` there")
    for name in dict.fromkeys(peer.environment for peer in peers):
        if name:
            (_install_node if name == NODE else _install_python)(name)


def command(peer: Peer) -> list[str]:
    """Tell how the adapter of a peer is run."""
    if peer.environment == NODE:  # beside node_modules, where Node looks for packages
        return [_program(NODE), str(CACHE / NODE / peer.adapter)]
    return [str(_python(peer)), str(ADAPTERS / peer.adapter)]


def _python(peer: Peer) -> Path:
    if peer.checkout is not None:
        return peer.checkout / ".venv" / "bin" / "python"
    if peer.environment:
        return CACHE / peer.environment / "bin" / "python"
    return Path(sys.executable)


def version(peer: Peer) -> str:
    """Tell which version of a peer is pinned, of a build of ours which commit it is."""
    if peer.checkout is not None:
        git = ["git", "-C", str(peer.checkout), "describe", "--always", "--dirty"]
        told = subprocess.run(git, check=False, capture_output=True, text=True)
        return told.stdout.strip() or "not a git checkout"
    if not peer.environment:
        return metadata.version(peer.package)
    if peer.environment == NODE:
        return json.loads((PINS / "package.json").read_text())["dependencies"][peer.package]
    lines = (PINS / f"{peer.environment}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines)
    return pins[peer.package]


def _install_python(name: str) -> None:
    pins, folder = PINS / f"{name}.txt", CACHE / name
    with _Stamp(folder, pins) as fresh:
        if not fresh:
            _run(str(UV), "venv", "--quiet", "--python", sys.executable, str(folder))
            python = str(folder / "bin" / "python")
            _run(str(UV), "pip", "install", "--quiet", "--python", python, "-r", str(pins))


def _install_node(name: str) -> None:
    folder = CACHE / name
    with _Stamp(folder, PINS / "package-lock.json") as fresh:
        if not fresh:
            folder.mkdir(parents=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copy(PINS / file, folder)
            npm = _program("npm")
            _run(npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", at=folder)
    for adapter in ADAPTERS.glob("*.mjs"):
        shutil.copy(adapter, folder)


class _Stamp:
    """Notes in an environment by which pins it was made; a half-made one has no note."""

    def __init__(self, folder: Path, pins: Path) -> None:
        self._folder = folder
        self._file = folder / "made-by"
        self._digest = sha256(pins.read_bytes() + sys.version.encode()).hexdigest()

    def __enter__(self) -> bool:
        fresh = self._file.exists() and self._file.read_text() == self._digest
        if not fresh:
            sys.stderr.write(f"peers: making {self._folder}\n")
            shutil.rmtree(self._folder, ignore_errors=True)
        return fresh

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._file.write_text(self._digest)


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise InstallError(f"{name} is missing: apt-get install nodejs npm")
    return found


def _run(*command: str, at: Path = ROOT) -> None:
    subprocess.run(command, cwd=at, check=True, timeout=_PATIENCE_S, stdout=subprocess.DEVNULL)
