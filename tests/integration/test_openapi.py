"""`/openapi.json` and `/docs` as they are served, and every example of a body, sent."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from boarding import ON_BOARD
from front import open_front

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from front import Front


@pytest.fixture
async def front(database_url: str) -> AsyncGenerator[Front]:
    async with open_front(database_url, job_types=ON_BOARD) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/v1/openapi.json"])
async def test_a_description_needs_no_key_and_is_sent_once(front: Front, path: str) -> None:
    first = await front.anonymous.get(path)
    etag = first.headers["etag"]
    again = await front.anonymous.get(path, headers={"if-none-match": f'"x", {etag}'})
    weakly = await front.anonymous.get(path, headers={"if-none-match": f"W/{etag}"})
    other = await front.anonymous.get(path, headers={"if-none-match": '"x"'})

    assert first.status_code == other.status_code == 200
    assert first.content == other.content
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert weakly.status_code == 304
    assert first.headers["cache-control"] == "no-cache"


async def test_the_document_is_json_of_this_version(front: Front) -> None:
    answer = await front.anonymous.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"].startswith("3.1.")
    assert answer.json()["info"]["version"]


async def test_the_page_loads_nothing_and_runs_nothing(front: Front) -> None:
    answer = await front.anonymous.get("/docs")

    page, policy = answer.text, answer.headers["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert not re.search(r"<(script|link|img|iframe)|\sstyle=|\son\w+=|@import|url\(", page)


async def test_the_page_shows_every_operation_and_all_its_links_lead_somewhere(
    front: Front,
) -> None:
    page = (await front.anonymous.get("/docs")).text
    document = (await front.anonymous.get("/openapi.json")).json()

    anchors = re.findall(r'\sid="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    for methods in document["paths"].values():
        assert {operation["operationId"] for operation in methods.values()} <= set(anchors)
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= set(anchors)


async def test_every_example_is_accepted(front: Front, subtests: pytest.Subtests) -> None:
    document = (await front.anonymous.get("/openapi.json")).json()
    made = await _make_what_paths_name(front)

    sent = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for media, example in _examples(operation):
                with subtests.test(operation["operationId"], example=example["summary"]):
                    target = path.format_map(made.get(path.split("/")[2], {}))
                    answer = await front.client.request(
                        method, target, json=example["value"], headers={"content-type": media}
                    )
                    assert answer.status_code in (200, 201), answer.text
                    assert str(answer.status_code) in operation["responses"]
                    sent += 1
    assert sent > 10


def _examples(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    content = operation.get("requestBody", {}).get("content", {})
    return [
        (media, example)
        for media, shown in content.items()
        for example in shown.get("examples", {}).values()
    ]


async def _make_what_paths_name(front: Front) -> dict[str, dict[str, str]]:
    """Make one of each resource, and tell what stands for it in a path."""
    bodies: dict[str, Any] = {
        "jobs": {"type": "noop", "delay_s": 600},
        "subscriptions": {"name": "mine", "event_type": "a", "job": {"type": "noop"}},
        "endpoints": {"name": "mine", "url": "https://mine.example.com/"},
        "schedules": {"name": "mine", "cron": "@daily", "job": {"type": "noop"}},
    }
    made = {"queues": {"name": "mine"}}
    for resource, body in bodies.items():
        answer = await front.client.post(f"/v1/{resource}", json=body)
        assert answer.status_code == 201, answer.text
        made[resource] = {"id": answer.json()["id"]}
    return made
