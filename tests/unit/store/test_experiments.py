"""``tocsin experiments`` as it is called in a shell, while the embedded ClickHouse is being served."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver import AsyncClient

from schemas.lifecycle import LifecycleEvent
from tests.unit.store.conftest import event, store

HOUR = 3_600_000


async def experiments(data: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit status, output and errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "experiments", "show", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, "TOCSIN_DATA__DIR": str(data), "TOCSIN_CLICKHOUSE__URL": f"chdb://{data}/clickhouse"},
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def sends(variant: str | None, sent: int, opened: int, **about: Any) -> list[LifecycleEvent]:
    """Each opened twice, and once more by a machine; one that failed beside."""
    events = []
    for number in range(sent + 1):
        own: dict[str, Any] = {
            "user_id": f"{variant}-{number}",
            "channel": "email",
            "send_id": f"{variant}-{number}",
            "campaign_id": "spring",
            "template_id": "t",
            "template_version": 1,
            "variant": variant,
            **about,
        }
        of = {name: own[name] for name in ("user_id", "campaign_id", "notification_id", "source") if name in own}
        events += [event("accepted", **of)]
        events += [event("failed" if number == sent else "sent", 5, **own)]
        if number < opened:
            events += [event("opened", 9, **own), event("opened", 10, **own)]
        events += [event("opened", 11, detail={"machine": True}, **own)]
    return events


def held_out(number: int) -> list[LifecycleEvent]:
    own: dict[str, Any] = {"user_id": f"held-{number}", "campaign_id": "spring"}
    return [event("accepted", **own), event("suppressed", 1, reason="holdout", **own)]


def ordered(user: str, after_ms: int) -> LifecycleEvent:
    return event("accepted", after_ms, notification_id=f"o-{user}", user_id=user, event_type="order.placed")


async def test_variants_are_compared_with_what_people_did(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, *sends("a", 200, 40), *sends("b", 200, 80))

    status, output, errors = await experiments(tmp_path, "spring", "--json")

    assert status == 0, errors
    found = json.loads(output)
    opened = {row["variant"]: row for row in found["variants"] if row["measure"] == "opened"}
    assert {name: (row["count"], row["of"], row["enough"]) for name, row in opened.items()} == {
        "a": (40, 200, None),
        "b": (80, 200, True),
    }
    assert opened["b"]["difference_low"] == pytest.approx(0.1107, abs=5e-5)
    assert (found["kind"], found["holdout"]) == ("campaign", None)
    clicked = [row for row in found["variants"] if row["measure"] == "clicked"]
    assert [(row["count"], row["enough"]) for row in clicked] == [(0, None), (0, False)]

    status, table, _ = await experiments(tmp_path, "t", "--baseline", "b")
    assert status == 0
    assert "40.00 %" in table
    assert "-20.00" in table


async def test_a_holdout_shows_what_the_campaign_itself_changed(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, *sends("a", 99, 0), *(e for number in range(100) for e in held_out(number)))
    await store(client, *(ordered(f"a-{number}", HOUR) for number in range(30)), ordered("a-0", 2 * HOUR))
    await store(client, *(ordered(f"held-{number}", HOUR) for number in range(10)))
    await store(client, ordered("held-50", -5), ordered("held-51", 13 * HOUR))

    status, output, errors = await experiments(
        tmp_path, "spring", "--goal", "order.placed", "--within", "12h", "--json"
    )

    assert status == 0, errors
    holdout, campaign = json.loads(output)["holdout"]
    assert (holdout["group"], holdout["count"], holdout["of"]) == ("holdout", 10, 100)
    assert (campaign["group"], campaign["count"], campaign["of"]) == ("campaign", 30, 100)
    assert (round(campaign["difference"], 6), campaign["enough"]) == (0.2, True)


async def test_a_user_is_one_trial_however_many_sends(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, *sends("a", 5, 2), *sends("a", 5, 3, send_id="other"))
    await store(client, *sends("a", 5, 1, notification_id="later", channel="email"))

    for name in ("spring", "t"):
        found = json.loads((await experiments(tmp_path, name, "--json"))[1])
        assert [(row["count"], row["of"]) for row in found["variants"] if row["measure"] == "opened"] == [(3, 5)]


async def test_what_has_no_variant_is_left_out_where_others_have_one(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, *sends("control", 2, 0), *sends("a", 3, 0), *sends("b", 3, 0, channel="sms"))
    await store(client, *sends("a", 2, 0, channel="sms"), *sends(None, 4, 0))

    found = json.loads((await experiments(tmp_path, "spring", "--json"))[1])

    rows = [(row["channel"], row["variant"]) for row in found["variants"] if row["measure"] == "opened"]
    assert rows == [("email", "control"), ("email", "a"), ("sms", "a"), ("sms", "b")]
    assert found["notes"] == [
        "Left out, as they have no variant: sends to 4 users.",
        "On sms there is no control: the others are compared with a.",
    ]


async def test_campaigns_of_several_sources_are_told_apart(client: AsyncClient, tmp_path: Path) -> None:
    for source, number in (("shop", 3), ("web", 2)):
        about: dict[str, Any] = {"source": source, "notification_id": source}
        await store(client, *sends("a", number, 1, **about))
        await store(client, event("accepted", user_id="h", campaign_id="spring", **about))
        await store(client, event("suppressed", 1, user_id="h", campaign_id="spring", reason="holdout", **about))

    status, _, errors = await experiments(tmp_path, "spring")
    assert (status, "--source: spring is a campaign of each of shop, web" in errors) == (1, True)
    assert "zoo has no campaign spring" in (await experiments(tmp_path, "spring", "--source", "zoo"))[2]
    found = json.loads((await experiments(tmp_path, "spring", "--source", "web", "--json"))[1])
    assert {row["of"] for row in found["variants"]} == {2}
    assert [(row["group"], row["count"]) for row in found["holdout"]] == [("campaign", 3), ("holdout", 1)]


async def test_of_a_campaign_whose_events_have_expired_no_goal_is_counted(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, *sends("a", 2, 1), *held_out(1))
    await client.command("ALTER TABLE notify.lifecycle DROP PARTITION '2026-11-20'")
    await store(client, event("opened", 20 * HOUR, user_id="a-1", campaign_id="spring"), ordered("a-1", 21 * HOUR))

    status, output, errors = await experiments(tmp_path, "spring", "--json")
    assert status == 0, errors
    assert json.loads(output)["holdout"] is None
    assert "have expired" in json.loads(output)["notes"][0]
    status, _, errors = await experiments(tmp_path, "spring", "--goal", "order.placed")
    assert (status, "--goal: events of spring have expired" in errors) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["autumn"], "autumn: no "),
        (["spring", "--baseline", "z"], "--baseline: z isn't among the variants: a"),
        (["spring", "--goal", "order.placed"], "--goal: campaign spring had no holdout"),
        (["t", "--goal", "order.placed"], "--goal: only a campaign"),
        (["spring", "--template"], "no template of that name has sent anything"),
        (["spring", "--within", "soon"], "--within: soon is not a duration"),
        (["x" * 300], "CAMPAIGN|TEMPLATE: at most 255"),
    ],
)
async def test_what_can_not_be_compared_is_one_line_and_status_1(
    client: AsyncClient, tmp_path: Path, arguments: list[str], refusal: str
) -> None:
    await store(client, *sends("a", 2, 1))

    status, output, errors = await experiments(tmp_path, *arguments)

    assert (status, output) == (1, "")
    assert refusal in errors
    assert "Traceback" not in errors
