"""What Alertmanager keeps silent because something else explains it, by the committed rules."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2

from watching import LOOK_S, PATIENCE_S, alertmanager

BUDGET = "DispatchBudgetBurningFast"


async def test_a_deaf_process_silences_its_own_polling_alone() -> None:
    deaf = _alert("ListenerDown", instance="a:9464", job="signalstack", severity="critical")
    polls = [_alert("PollShareHigh", instance=f"{name}:9464") for name in "ab"]
    late = _alert(BUDGET, severity="critical")

    silent = await _silenced(deaf, *polls, late)

    assert silent == {("PollShareHigh", "a:9464")}


async def test_postgresql_that_is_away_silences_what_follows_from_it() -> None:
    away = _alert("DatabaseDown", severity="critical")
    follows = [_alert("ListenerDown", instance="a:9464"), _alert(BUDGET), _alert("NoApi")]

    assert await _silenced(away, *follows) == {("ListenerDown", "a:9464"), (BUDGET, None)}


def _alert(name: str, **labels: str) -> dict[str, dict[str, str]]:
    return {"labels": {"alertname": f"SignalStack{name}", "severity": "warning", **labels}}


async def _silenced(*alerts: dict[str, dict[str, str]]) -> set[tuple[str, str | None]]:
    """Raise alerts at a real Alertmanager, and tell those that it inhibits, once it does."""
    async with alertmanager("http://127.0.0.1:9", faster=1) as port:
        url = f"http://127.0.0.1:{port}/api/v2/alerts"
        async with httpx2.AsyncClient() as client:
            (await client.post(url, json=list(alerts))).raise_for_status()
            with anyio.fail_after(PATIENCE_S):
                silent: set[tuple[str, str | None]] = set()
                while not silent:
                    silent = _inhibited((await client.get(url)).json(), len(alerts))
                    await anyio.sleep(LOOK_S)
    return silent


def _inhibited(told: list[dict[str, Any]], count: int) -> set[tuple[str, str | None]]:
    if len(told) < count:
        return set()
    return {
        (one["labels"]["alertname"].removeprefix("SignalStack"), one["labels"].get("instance"))
        for one in told
        if one["status"]["inhibitedBy"]
    }
