"""`signalstack top` on a real process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from processes import finish, start
from programs import find

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
async def test_top_shows_a_running_service_and_goes_on_when_it_ends(
    empty_database_url: str,
) -> None:
    async with start("up", DATABASE_URL=empty_database_url) as service:
        base = await service.read(r"^API +(http\S+)")
        target = await service.read(r"^metrics +http://(\S+)/metrics")
        key = await service.read(r"^API key +(\S+)")

        async with start("top", "--target", target, "--interval", "1s") as watching:
            await watching.read("1 of 1 target")
            headers = {"authorization": f"Bearer {key}", "prefer": "wait=10"}
            async with httpx2.AsyncClient(base_url=base, headers=headers) as client:
                done = await client.post("/v1/jobs", json={"type": "noop"})
            await watching.read(r"dispatch +[01]\.\d+ +(≤ )?\d")
            assert await service.stop() == 0
            await watching.read("0 of 1 target")
            assert await watching.stop() == 0

    assert done.json()["status"] == "succeeded"
    assert re.search(r"default +.* [01]\.\d+ ", watching.output)
    assert "listening" in watching.output
    assert "\x1b" not in watching.output


async def test_once_prints_one_frame_and_fails_when_nothing_is_there(tmp_path: Path) -> None:
    code, output, errors = await finish(
        "top", "--once", "--interval", "200ms", METRICS_PORT="1", HOME=str(tmp_path)
    )

    assert (code, errors) == (1, "signalstack: no target answered\n")
    assert output.count("signalstack top") == 1
    assert "! 127.0.0.1:1 is away" in output


async def test_ends_quietly_when_nobody_reads_any_more() -> None:
    pipe = [find("sh"), "-c", '{ "$@"; echo "ended with $?" >&2; } | head -n 1', "sh"]
    arguments = ("top", "--target", "127.0.0.1:1", "--interval", "200ms")

    async with start(*arguments, prefix=pipe) as process:
        await process.wait()

    assert process.output.startswith("signalstack top")
    assert process.errors == "ended with 1\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--target", "nowhere"], {}, "must be like 127.0.0.1:9464"),
        (["--interval", "5"], {}, "200ms to 1m"),
        ([], {"METRICS_PORT": "0"}, "--target HOST:PORT"),
    ],
)
async def test_wrong_usage_of_top_ends_with_2(
    arguments: list[str], variables: dict[str, str], says: str
) -> None:
    code, output, errors = await finish("top", *arguments, **variables)

    assert (code, output) == (2, "")
    assert says in errors
