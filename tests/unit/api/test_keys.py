"""The routes of API keys: who may, what is refused, and what a key can do from then on."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from app.api.callers import Callers
from app.api.console.sessions import COOKIE
from app.api.limits import Limits
from app.config import ApiKey
from app.domain.api_keys import MOST_KEYS
from schemas.keys import MAX_SCOPES
from tests.agents.harness import NOON
from tests.calling import bearer, key_hash
from tests.key_topic import KeyTopic, a_key
from tests.unit.api.test_hostile_calls import Past, gateway

ADMIN, READER, SHOP = "ops." + "o" * 43, "eye." + "e" * 43, "shop." + "s" * 43
SETTINGS = [
    ApiKey(id="ops", sha256=key_hash(ADMIN), scopes=("admin",)),
    ApiKey(id="eye", sha256=key_hash(READER), scopes=("admin:read",)),
    ApiKey(id="shop", sha256=key_hash(SHOP), source="shop", scopes=("send", "read", "campaign")),
]
REQUEST = {"user_id": "ada", "event_type": "order.shipped", "content": {"title": "t", "body": "b"}}


class Asking:
    """Calls as one key or another; the clock goes on by hand."""

    def __init__(self, client: TestClient[Any, Any], log: Any, topic: KeyTopic, now: list[int]) -> None:
        self.client, self.log, self.topic, self.now = client, log, topic, now

    async def __call__(self, method: str, path: str, body: Any = None, key: str = ADMIN) -> tuple[int, Any]:
        async with self.client.request(method, path, json=body, headers=bearer(key)) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def make(self, key_id: str, *scopes: str, **given: Any) -> str:
        """A key that there is from now on, whole."""
        status, made = await self("POST", "/v1/keys", {"id": key_id, "scopes": scopes, **given})
        assert status == 201, made
        return str(made["key"])

    async def sends(self, key: str, event_type: str = "order.shipped") -> int:
        return (await self("POST", "/v1/notifications", {**REQUEST, "event_type": event_type}, key))[0]


@asynccontextmanager
async def asking(*made: Any) -> AsyncIterator[Asking]:
    topic, now = KeyTopic(), [NOON]
    writer = topic.writer(clock=lambda: now[0])
    for each in made:
        await writer.write(each)
    callers = Callers(SETTINGS, None, None, lambda: now[0] / 1000, writer.states, writer.uses)
    async with gateway(keys=writer, callers=callers, clock=lambda: now[0], new_id=lambda: str(uuid4())) as (
        client,
        log,
    ):
        yield Asking(client, log, topic, now)


async def test_a_key_works_at_once_and_only_its_hash_is_kept() -> None:
    with capture_logs() as logs:
        async with asking() as ask:
            key = await ask.make("blog", "send", "read", source="blog")
            assert key.startswith("blog.")
            assert await ask.sends(key) == 202

            seen = [await ask("GET", path) for path in ("/v1/keys", "/v1/keys/blog", "/v1/audit-log")]
            everything = (seen, logs, ask.topic.records, ask.log.audit.entries)
            assert key.partition(".")[2] not in repr(everything)
            assert key_hash(key) not in repr((seen, logs, ask.log.audit.entries))
            [entry] = ask.log.audit.entries
            assert (entry.key_id, entry.action, entry.what) == ("ops", "key.create", "blog (send, read) of blog")


async def test_the_audit_log_says_first_what_matters_most_of_a_key() -> None:
    async with asking() as ask:
        many = [f"send:{letter * 100}" for letter in "abcdefghij"]
        await ask.make("blog", *many, "admin", critical=False, expires_at="2199-01-01T00:00:00Z")
        [entry] = ask.log.audit.entries

    beginning = "blog (admin, 10 of event types) of no source, until 2199-01-01T00:00:00.000Z, not critical: send:aaa"
    assert entry.what.startswith(beginning)


async def test_a_key_is_shown_with_all_that_limits_it_and_its_last_use() -> None:
    async with asking() as ask:
        limits = {"rate": 5.0, "critical": False, "expires_at": "2199-01-01T00:00:00.000Z"}
        key = await ask.make("blog", "send:comment.*", "send:comment.*", **limits)
        _, shown = await ask("GET", "/v1/keys/blog")
        assert shown == {
            "id": "blog",
            "source": "",
            "scopes": ["send:comment.*"],
            "state": "live",
            "kept_in": "tocsin",
            "created_at": "2026-03-04T12:00:00.000Z",
            "created_by": "ops",
            "last_used_at": None,
            "secrets": [
                {"number": 1, "created_at": "2026-03-04T12:00:00.000Z", "expires_at": None, "last_used_at": None}
            ],
            "certificates": [],
            **limits,
        }
        ask.now[0] += 1000
        await ask.sends(key, "comment.created")
        _, shown = await ask("GET", "/v1/keys/blog")
        assert shown["last_used_at"] == shown["secrets"][0]["last_used_at"] == "2026-03-04T12:00:01.000Z"


async def test_keys_of_the_settings_are_listed_with_their_last_use_and_changed_only_there() -> None:
    async with asking() as ask:
        await ask.make("blog", "send")
        _, listed = await ask("GET", "/v1/keys", key=READER)
        shown = {key["id"]: key for key in listed["keys"]}
        assert list(shown) == ["ops", "eye", "shop", "blog"]
        assert [shown[name]["last_used_at"] is not None for name in shown] == [True, True, False, False]
        assert {key["kept_in"] for key in listed["keys"][:3]} == {"settings"}

        for method, path in (("DELETE", ""), ("POST", "/rotate"), ("DELETE", "/secrets/1")):
            status, problem = await ask(method, f"/v1/keys/shop{path}")
            assert (status, problem["field"]) == (409, "id")
        status, problem = await ask("POST", "/v1/keys", {"id": "shop", "scopes": ["send"]})
        assert (status, problem["field"]) == (409, "id")
        assert await ask.sends(SHOP) == 202


async def test_a_key_of_the_settings_wins_over_one_of_its_id() -> None:
    made = "shop." + "x" * 43
    async with asking(a_key("shop", made)) as ask:
        assert await ask.sends(made) == 401
        assert await ask.sends(SHOP) == 202
        _, listed = await ask("GET", "/v1/keys")
        assert [key["state"] for key in listed["keys"] if key["id"] == "shop"] == ["live", "overridden"]
        assert (await ask("DELETE", "/v1/keys/shop"))[0] == 204  # one can clear it away
        assert await ask.sends(SHOP) == 202


async def test_both_secrets_count_until_the_overlap_is_over() -> None:
    async with asking() as ask:
        old = await ask.make("blog", "send")
        status, rotated = await ask("POST", "/v1/keys/blog/rotate", {"overlap": "1h"})
        new = rotated["key"]
        assert (status, rotated["former_expires_at"]) == (201, "2026-03-04T13:00:00.000Z")
        assert [await ask.sends(key) for key in (old, new)] == [202, 202]
        assert (await ask("POST", "/v1/keys/blog/rotate"))[0] == 409

        ask.now[0] += 3_600_000
        assert [await ask.sends(key) for key in (old, new)] == [401, 202]
        _, shown = await ask("GET", "/v1/keys/blog")
        assert [secret["number"] for secret in shown["secrets"]] == [2]


async def test_a_rotation_without_a_body_leaves_a_day() -> None:
    async with asking() as ask:
        old = await ask.make("blog", "send")
        _, rotated = await ask("POST", "/v1/keys/blog/rotate")
        assert rotated["former_expires_at"] == "2026-03-05T12:00:00.000Z"
        assert await ask.sends(old) == 202


async def test_a_leaked_secret_is_replaced_at_once() -> None:
    async with asking() as ask:
        old = await ask.make("blog", "send")
        _, rotated = await ask("POST", "/v1/keys/blog/rotate", {"overlap": "0s"})

        assert rotated["former_expires_at"] is None
        assert [await ask.sends(key) for key in (old, rotated["key"])] == [401, 202]


@pytest.mark.parametrize(("number", "statuses"), [(1, [401, 202]), (2, [202, 401])])
async def test_either_of_two_secrets_can_be_ended(number: int, statuses: list[int]) -> None:
    async with asking() as ask:
        old = await ask.make("blog", "send")
        _, rotated = await ask("POST", "/v1/keys/blog/rotate", {"overlap": "1h"})
        assert (await ask("DELETE", f"/v1/keys/blog/secrets/{number}"))[0] == 204

        ask.now[0] += 7_200_000
        assert [await ask.sends(key) for key in (old, rotated["key"])] == statuses
        left = 3 - number
        assert (await ask("DELETE", f"/v1/keys/blog/secrets/{left}"))[0] == 409
        for unknown in ("9", "0", "-1", "x", "1" * 40, "\N{SUPERSCRIPT TWO}"):
            assert (await ask("DELETE", f"/v1/keys/blog/secrets/{unknown}"))[0] == 404


async def test_a_revoked_key_is_unknown_and_its_id_may_be_taken_again() -> None:
    async with asking() as ask:
        old = await ask.make("blog", "send")
        assert (await ask("DELETE", "/v1/keys/blog"))[0] == 204
        assert await ask.sends(old) == 401
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            assert (await ask(method, f"/v1/keys/blog{path}"))[0] == 404

        new = await ask.make("blog", "send")
        assert [await ask.sends(key) for key in (old, new)] == [401, 202]


async def rotate_at_once(ask: Asking) -> None:
    await ask("POST", "/v1/keys/blog/rotate", {"overlap": "0s"})


async def end_the_secret(ask: Asking) -> None:
    await ask("POST", "/v1/keys/blog/rotate", {"overlap": "1h"})
    await ask("DELETE", "/v1/keys/blog/secrets/1")


async def make_anew(ask: Asking) -> None:
    await ask("DELETE", "/v1/keys/blog")
    await ask.make("blog", "send", "campaign")


async def rotate_with_overlap(ask: Asking) -> None:
    await ask("POST", "/v1/keys/blog/rotate", {"overlap": "1h"})


ROWS = "user_id\n", "ada\n"
ROWS_PATH = '/v1/campaigns?campaign_id=sale&event_type=sale.began&content={"title":"t","body":"b"}'
BODIES = {"rows": (ROWS_PATH, "text/csv", ROWS), "a body": ("/v1/notifications", "application/json", ("", REQUEST))}


@pytest.mark.parametrize("upload", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [(rotate_at_once, 401), (end_the_secret, 401), (make_anew, 401), (rotate_with_overlap, 202)],
)
async def test_an_upload_ends_with_the_secret_that_it_came_with(
    upload: tuple[str, str, tuple[str, Any]], meanwhile: Callable[[Asking], Awaitable[None]], expected: int
) -> None:
    path, content_type, (first, last) = upload
    async with asking() as ask:
        key = await ask.make("blog", "send", "campaign")

        async def body() -> AsyncIterator[bytes]:
            yield first.encode() or b" "
            await meanwhile(ask)
            yield (last if isinstance(last, str) else json.dumps(last)).encode()

        headers = {**bearer(key), "Content-Type": content_type}
        # (it has begun when the body is asked for)
        async with ask.client.post(path, data=body(), headers=headers, expect100=True) as response:
            assert response.status == expected, await response.text()


async def test_a_key_ends_with_its_time_and_may_be_revoked_then() -> None:
    async with asking() as ask:
        key = await ask.make("blog", "send", expires_at="2026-03-04T12:00:01Z")
        assert await ask.sends(key) == 202
        ask.now[0] += 1000
        assert await ask.sends(key) == 401
        assert (await ask("GET", "/v1/keys/blog"))[1]["state"] == "expired"
        assert (await ask("POST", "/v1/keys/blog/rotate"))[0] == 409
        assert (await ask("DELETE", "/v1/keys/blog"))[0] == 204


@pytest.mark.parametrize("key", [READER, SHOP])
async def test_only_admins_change_keys(key: str) -> None:
    async with asking() as ask:
        await ask.make("blog", "send")
        for method, path, body in (
            ("POST", "/v1/keys", {"id": "mine", "scopes": ["admin"]}),
            ("POST", "/v1/keys/blog/rotate", {}),
            ("DELETE", "/v1/keys/blog", None),
            ("DELETE", "/v1/keys/blog/secrets/1", None),
        ):
            assert (await ask(method, path, body, key))[0] == 403
        expected = 200 if key == READER else 403
        assert [(await ask("GET", path, key=key))[0] for path in ("/v1/keys", "/v1/keys/blog")] == [expected] * 2


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no id": ({"id": None}, 400, "id"),
    "an empty id": ({"id": ""}, 400, "id"),
    "a long id": ({"id": "a" * 65}, 400, "id"),
    "an id with a dot": ({"id": "a.b"}, 400, "id"),
    "an id with a line's end": ({"id": "a\n"}, 400, "id"),
    "an id like a token's beginning": ({"id": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"}, 400, "id"),
    "no scopes": ({"scopes": None}, 400, "scopes"),
    "empty scopes": ({"scopes": []}, 400, "scopes"),
    "too many scopes": ({"scopes": ["send"] * (MAX_SCOPES + 1)}, 400, "scopes"),
    "an unknown scope": ({"scopes": ["everything"]}, 400, "scopes"),
    "an expression": ({"scopes": ["send:(a+)+$"]}, 400, "scopes"),
    "a long event type": ({"scopes": ["send:" + "a" * 101]}, 400, "scopes"),
    "scopes as text": ({"scopes": "send"}, 400, "scopes"),
    "a long source": ({"source": "a" * 101}, 400, "source"),
    "a source of two lines": ({"source": "a\nb"}, 400, "source"),
    "no rate at all": ({"rate": 0}, 400, "rate"),
    "a tiny rate": ({"rate": 5e-324}, 400, "rate"),
    "a huge rate": ({"rate": 1e300}, 400, "rate"),
    "critical as text": ({"critical": "no"}, 400, "critical"),
    "a past end": ({"expires_at": "2026-03-04T12:00:00Z"}, 422, "expires_at"),
    "an end too far": ({"expires_at": "2300-01-01T00:00:00Z"}, 400, "expires_at"),
    "an end that is none": ({"expires_at": "never"}, 400, "expires_at"),
    "what is misspelt": ({"expire_at": "2027-01-01T00:00:00Z"}, 400, "expire_at"),
    "a hash of one's own": ({"sha256": "0" * 64}, 400, "sha256"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_names_its_field_and_makes_no_key(case: tuple[dict[str, Any], int, str]) -> None:
    given, expected, field = case
    async with asking() as ask:
        status, problem = await ask("POST", "/v1/keys", {"id": "blog", "scopes": ["send"], **given})

        assert (status, problem["field"]) == (expected, field)
        assert ask.topic.records == []
        assert ask.log.audit.entries == []


@pytest.mark.parametrize(
    ("overlap", "expected"), [("31d", 422), ("999999999d", 422), ("-1s", 400), ("1", 400), ("", 400), (60, 400)]
)
async def test_an_overlap_is_a_time_of_at_most_30_days(overlap: Any, expected: int) -> None:
    async with asking() as ask:
        await ask.make("blog", "send")
        status, problem = await ask("POST", "/v1/keys/blog/rotate", {"overlap": overlap})

        assert (status, problem["field"]) == (expected, "overlap")


async def test_there_are_only_so_many_keys() -> None:
    async with asking(*(a_key(f"k{number}") for number in range(MOST_KEYS))) as ask:
        status, problem = await ask("POST", "/v1/keys", {"id": "one-more", "scopes": ["send"]})
        assert (status, problem["field"]) == (422, "id")

        await ask("DELETE", "/v1/keys/k7")
        await ask.make("one-more", "send")


async def test_while_the_log_is_away_nothing_changes_and_keys_go_on() -> None:
    async with asking() as ask:
        key = await ask.make("blog", "send")
        for part in (ask.log.audit, ask.topic):
            part.is_down = True
            for method, path, body in (
                ("POST", "/v1/keys", {"id": "other", "scopes": ["send"]}),
                ("POST", "/v1/keys/blog/rotate", {}),
                ("DELETE", "/v1/keys/blog", None),
            ):
                assert (await ask(method, path, body))[0] == 503
            part.is_down = False
        assert await ask.sends(key) == 202
        assert len((await ask("GET", "/v1/keys"))[1]["keys"]) == len(SETTINGS) + 1


# --- event types --------------------------------------------------------------------------------------------------

NEEDED = "this key lacks the scope send:order.paid"


async def test_a_limited_key_sends_for_its_event_types_only_item_by_item() -> None:
    async with asking() as ask:
        key = await ask.make("till", "send:order.shipped", "send:comment.*", source="shop")
        assert [await ask.sends(key, each) for each in ("order.shipped", "comment.new")] == [202, 202]
        status, problem = await ask("POST", "/v1/notifications", {**REQUEST, "event_type": "order.paid"}, key)
        assert (status, problem["detail"], problem["field"]) == (403, NEEDED, "event_type")

        items = [{**REQUEST, "event_type": each} for each in ("order.shipped", "order.paid", "comment.new")]
        status, answer = await ask("POST", "/v1/notifications/bulk", {"requests": items}, key)
        assert status == 202
        assert [result["status"] for result in answer["results"]] == ["accepted", 403, "accepted"]
        assert answer["results"][1]["detail"] == NEEDED


async def test_a_limited_key_begins_and_steers_campaigns_of_its_event_types_only() -> None:
    said = {"content": {"title": "t", "body": "b"}, "user_ids": ["ada"]}
    async with asking() as ask:
        key = await ask.make("till", "send:order.*", "campaign", source="shop")
        paid = {**said, "campaign_id": "mine", "event_type": "order.paid"}
        assert (await ask("POST", "/v1/campaigns", paid, key))[0] == 202

        sale = {**said, "campaign_id": "sale", "event_type": "sale.began"}
        for path in ("/v1/campaigns", "/v1/notifications/batch"):
            status, problem = await ask("POST", path, sale, key)
            assert (status, problem["field"]) == (403, "event_type")
            assert problem["detail"] == "this key lacks the scope send:sale.began"
        rows = {"campaign_id": "sale", "event_type": "sale.began", "content": '{"title": "t", "body": "b"}'}
        headers = {**bearer(key), "Content-Type": "text/csv"}
        async with ask.client.post("/v1/campaigns", params=rows, data="user_id\nada\n", headers=headers) as response:
            assert response.status == 403

        assert (await ask("POST", "/v1/campaigns", sale, SHOP))[0] == 202
        for method, path in (("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")):
            assert (await ask(method, f"/v1/campaigns/sale{path}", None, key))[0] == 403
        assert (await ask("DELETE", "/v1/campaigns/mine", None, key))[0] == 202


#: ``Past`` of the hostile calls knows every notification, as one of a.b.
A_NOTIFICATION = "/v1/notifications/0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e"


@pytest.mark.parametrize(("scope", "expected"), [("send", 202), ("send:a.*", 202), ("send:a.b", 202), ("send:b", 404)])
async def test_a_limited_key_cancels_what_it_could_have_sent(scope: str, expected: int) -> None:
    async with asking() as ask:
        key = await ask.make("till", scope, source="shop")
        status, answer = await ask("DELETE", A_NOTIFICATION, None, key)

        assert status == expected
        if expected == 404:  # it may not know what there is
            assert "send:a.b" not in answer["detail"]
            key = await ask.make("reader", scope, "read", source="shop")
            status, answer = await ask("DELETE", A_NOTIFICATION, None, key)
            assert (status, answer["detail"]) == (403, "this key lacks the scope send:a.b")


@pytest.mark.parametrize("scope", ["send", "send:a.*"])
async def test_a_cancellation_counts_before_clickhouse_is_asked(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def status(self: Past, notification_id: str) -> None:
        asked.append(notification_id)

    monkeypatch.setattr(Past, "status", status)
    monkeypatch.setattr(Limits, "may_cancel_unknown", lambda *_: False)
    async with asking() as ask:
        key = await ask.make("till", scope, source="shop")
        assert (await ask("DELETE", A_NOTIFICATION, None, key))[0] == 429
    assert len(asked) == 1


async def test_event_types_open_no_other_door() -> None:
    async with asking() as ask:
        key = await ask.make("till", "send:order.*", source="shop")
        status, problem = await ask("GET", A_NOTIFICATION, None, key)
        assert (status, problem["detail"]) == (403, "this key lacks the scope read")
        assert (await ask("GET", "/v1/campaigns", None, key))[0] == 403


# --- the console --------------------------------------------------------------------------------------------------


async def signed_in(ask: Asking, key: str) -> str:
    async with ask.client.post("/console/sign-in", data={"key": key}, allow_redirects=False) as response:
        return response.cookies[COOKIE].value if COOKIE in response.cookies else ""


async def opens(ask: Asking, cookie: str) -> int:
    ask.client.session.cookie_jar.clear()
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    async with ask.client.get("/console/query", headers=headers, allow_redirects=False) as response:
        return response.status


async def test_whoever_signs_in_with_a_made_key_is_out_when_that_secret_ends() -> None:
    async with asking() as ask:
        old = await ask.make("grace", "admin")
        by_old = await signed_in(ask, old)
        _, rotated = await ask("POST", "/v1/keys/grace/rotate", {"overlap": "1h"})
        by_new = await signed_in(ask, rotated["key"])
        assert [await opens(ask, each) for each in (by_old, by_new)] == [200, 200]

        ask.now[0] += 3_600_000
        assert [await opens(ask, each) for each in (by_old, by_new)] == [303, 200]
        await ask("DELETE", "/v1/keys/grace")
        assert await opens(ask, by_new) == 303
        assert await signed_in(ask, rotated["key"]) == ""
