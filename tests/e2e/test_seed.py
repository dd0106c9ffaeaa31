"""`signalstack seed` against a running service: samples of everything, or a sentence why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from processes import finish, start

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


async def test_samples_are_there_for_a_newcomer_to_look_at(data_dir: Path) -> None:
    async with start("up", "--data-dir", data_dir) as up:
        base, key = await up.read(r"^API +(\S+)"), await up.read(r"^API key +(\S+)")

        done = await finish(
            *("seed", "--url", base, "--key", key),
            *("--messages", "7", "--events", "3", "--jobs", "5"),
        )
        wrong = key[:-1] + ("y" if key.endswith("x") else "x")
        refused = await finish("seed", "--url", base, "--key", wrong, "--messages", "1")
        lists = await look(base, key)
        assert await up.stop() == 0

    code, output, errors = done
    assert code == 0, errors
    assert output == f"made 7 messages, 3 events and 5 jobs at {base}\n"
    assert len(lists["messages"]) == 7
    assert len({message["phone_number"] for message in lists["messages"]}) > 1
    assert len(lists["events"]) == 3
    of_types = [job["type"] for job in lists["jobs"]]
    assert sum(of in ("noop", "generate_report") for of in of_types) == 5
    code, output, errors = refused
    assert (code, output) == (1, "")
    assert errors.startswith(f"Error: {base}: ")
    assert "401" in errors


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ((), 2, "--key"),
        (("--key", "k", "--messages", "-1"), 2, "-1 is not in the range"),
        # Nobody can listen there; without --url it is where `up` would be.
        (("--key", "k", "--url", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1"),
        (("--key", "k"), 1, "http://127.0.0.1:8080"),
        (("--key", "k", "--url", "nonsense"), 2, "base_url must be http"),
    ],
)
async def test_what_cannot_be_done_is_said(given: tuple[str, ...], code: int, told: str) -> None:
    ended, output, errors = await finish("seed", *given)

    assert (ended, output) == (code, "")
    assert told in errors
    assert "Traceback" not in errors


async def look(base: str, key: str) -> dict[str, list[Any]]:
    async with httpx2.AsyncClient(base_url=base, headers={"x-api-key": key}) as client:
        return {
            name: (await client.get(f"/v1/{name}?limit=200")).json()["data"]
            for name in ("messages", "events", "jobs")
        }
