"""Public links of mail over HTTP: opens, clicks, unsubscribing, the preference page; what their tokens let in."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from app.api.rates import Rate
from app.domain.erasure import user_hash
from app.domain.links import Links, Tokens
from app.store.owner_client import OwnerUnavailableError
from app.store.publisher import PublishError
from schemas.erasures import Erased
from schemas.topics import COMMANDS, RECEIPTS
from tests.links import LINKS, a_mail, token_of
from tests.unit.api.served import SERVED_AT, Served, served

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
TARGET = "https://shop.example/a?b=1&c=%C3%BC#d"
PAGE = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served() as gateway:
        yield gateway


def path_of(url: str) -> str:
    return url.removeprefix("https://notify.example")


OPEN = path_of(LINKS.opened(a_mail()))
CLICK = path_of(LINKS.clicked(a_mail(), TARGET))
UNSUBSCRIBE = path_of(LINKS.unsubscribe(a_mail()))
PREFERENCES = path_of(LINKS.preferences("u1", SERVED_AT))


async def test_a_click_leads_to_the_signed_link_and_nowhere_else(gateway: Served) -> None:
    answer = await gateway.client.get(f"{CLICK}?url=https://evil.example", allow_redirects=False)

    assert answer.status == 302
    assert answer.headers["Location"] == TARGET
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_a_click_and_an_open_are_reported_with_their_send(gateway: Served) -> None:
    await gateway.client.get(CLICK, allow_redirects=False, headers={"User-Agent": BROWSER})
    picture = await gateway.client.get(OPEN, headers={"User-Agent": BROWSER})

    assert picture.content_type == "image/gif"
    assert (await picture.read()).startswith(b"GIF89a")
    assert [(r.status, r.user_id, r.send_id, r.detail) for r in gateway.reports] == [
        ("clicked", "u1", a_mail().send_id, None),
        ("opened", "u1", a_mail().send_id, None),
    ]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"User-Agent": "Mozilla/5.0"}),
        ("GET", {"User-Agent": "BarracudaCentral/1.0"}),
        ("GET", {"User-Agent": BROWSER, "Sec-Purpose": "prefetch;prerender"}),
        ("HEAD", {"User-Agent": BROWSER}),
    ],
)
async def test_what_a_machine_fetches_is_reported_as_that(
    gateway: Served, method: str, headers: dict[str, str]
) -> None:
    for path in (CLICK, OPEN):
        answer = await gateway.client.request(method, path, allow_redirects=False, headers=headers)
        assert answer.status in (200, 302)

    assert [report.detail for report in gateway.reports] == [{"machine": True}] * 2


async def test_opening_the_unsubscribe_link_asks_and_changes_nothing(gateway: Served) -> None:
    for method in ("GET", "HEAD"):
        answer = await gateway.client.request(method, UNSUBSCRIBE, headers={"Accept-Language": "de"})
        assert answer.status == 200

    assert '<form method="post">' in await (await gateway.client.get(UNSUBSCRIBE)).text()
    assert gateway.log == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"List-Unsubscribe=One-Click", FORM),
        (
            b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n',
            {"Content-Type": "multipart/form-data; boundary=x"},
        ),
        (b"", {}),
    ],
)
async def test_posting_to_it_opts_out_by_one_command_and_one_receipt(
    gateway: Served, body: bytes, headers: dict[str, str]
) -> None:
    answers = [await gateway.client.post(UNSUBSCRIBE, data=body, headers=headers) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert [topic for topic, _, _ in gateway.log] == [COMMANDS, RECEIPTS] * 2
    (_, key, command), (_, _, receipt) = gateway.log[:2]
    said = msgspec.json.decode(command)
    assert key == b"u1"
    assert (said["type"], said["channel"], said["category"]) == ("preferences.unsubscribe", "email", "marketing")
    assert msgspec.json.decode(receipt)["status"] == "unsubscribed"
    assert msgspec.json.decode(receipt)["send_id"] == a_mail().send_id


async def test_what_can_not_be_turned_off_says_so_whether_it_is_asked_or_acted(gateway: Served) -> None:
    path = path_of(LINKS.unsubscribe(a_mail(category="security")))
    for answer in (await gateway.client.get(path), await gateway.client.post(path, data=b"", headers=FORM)):
        assert answer.status == 200
        text = await answer.text()
        assert "t be turned off" in text
        assert "<form" not in text


PATHS = ("/v1/track/open/{}.gif", "/v1/track/click/{}", "/v1/unsubscribe/{}", "/preferences/{}")


@pytest.mark.parametrize("path", PATHS)
async def test_each_token_is_good_for_its_own_use_only(gateway: Served, path: str) -> None:
    foreign = Links("https://notify.example", Tokens(["somebody else's key"]))
    tokens = {token_of(url) for url in (OPEN, CLICK, UNSUBSCRIBE, PREFERENCES, foreign.unsubscribe(a_mail()))}
    statuses = [(await gateway.client.get(path.format(token), allow_redirects=False)).status for token in tokens]

    assert sorted(statuses) in ([200, 404, 404, 404, 404], [302, 404, 404, 404, 404])
    if path.startswith(("/v1/unsubscribe", "/preferences")):
        gateway.log.clear()
        posted = [(await gateway.client.post(path.format(t), data=b"act=all", headers=FORM)).status for t in tokens]
        assert sorted(posted) == [200, 404, 404, 404, 404]


async def test_a_retired_key_goes_on_reading_what_it_made() -> None:
    newer = Links("https://notify.example", Tokens(["a newer key", "the signing key of all tests"]))
    async with served(links=newer) as gateway:
        assert (await gateway.client.post(UNSUBSCRIBE)).status == 200
        assert (await gateway.client.get(path_of(newer.unsubscribe(a_mail())))).status == 200


@pytest.mark.parametrize("path", [UNSUBSCRIBE, PREFERENCES])
async def test_uses_of_one_users_links_are_limited_whatever_address_they_come_from(gateway: Served, path: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.api.limits.LINK_RATE", Rate(0.001, 3))
        answers = [await gateway.client.request(method, path) for method in ("GET", "POST", "GET", "GET")]
        other = await gateway.client.get(path_of(LINKS.preferences("u2", SERVED_AT)))

    assert [answer.status == 429 for answer in answers] == [False, False, False, True]
    assert "Retry-After" in answers[-1].headers
    assert other.status == 200


async def test_without_keys_no_link_is_known_and_none_is_made() -> None:
    async with served(links=None) as gateway:
        assert (await gateway.client.get(UNSUBSCRIBE)).status == 404
        answer = await gateway.client.post("/v1/users/u1/preferences/link", headers=gateway.admin)
        assert answer.status == 422


# --- what a browser is shown ---


@pytest.mark.parametrize("path", ["/v1/unsubscribe/x", "/preferences/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_people_are_shown_a_page_and_programs_a_problem(gateway: Served, method: str, path: str) -> None:
    shown = await gateway.client.request(method, path, headers=PAGE)
    told = await gateway.client.request(method, path)

    assert (shown.status, shown.content_type) == (404, "text/html")
    assert (told.status, told.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("error", [PublishError("gone"), OwnerUnavailableError("gone"), RuntimeError("a fault")])
@pytest.mark.parametrize("path", [UNSUBSCRIBE, PREFERENCES])
async def test_what_fails_for_now_is_a_page_that_says_so(gateway: Served, path: str, error: Exception) -> None:
    gateway.fails = error
    answer = await gateway.client.post(path, data=b"act=all", headers={**FORM, **PAGE})

    assert answer.status in (500, 503)
    assert "try again" in await answer.text()


async def test_what_was_saved_is_shown_though_its_owner_does_not_answer(gateway: Served) -> None:
    gateway.fails_after_publish = OwnerUnavailableError("gone")
    answer = await gateway.client.post(PREFERENCES, data=b"act=all", headers={**FORM, **PAGE})

    assert answer.status == 200
    text = await answer.text()
    assert "Your preferences are saved" in text
    assert 'name="shown" value="channel/email/0"' in text


# --- the preference page ---


async def test_a_link_to_the_page_is_good_for_thirty_days(gateway: Served) -> None:
    answer = await gateway.client.post("/v1/users/u1/preferences/link", headers=gateway.admin)
    assert answer.status == 201
    made = await answer.json()

    assert (await gateway.client.get(path_of(made["url"]))).status == 200
    gateway.now = SERVED_AT + 30 * 24 * 3_600_000 + 1000
    assert (await gateway.client.get(path_of(made["url"]))).status == 404
    assert (await gateway.client.post(path_of(made["url"]), data=b"act=all", headers=FORM)).status == 404


@pytest.mark.parametrize("anew", [None, SERVED_AT + 3_000])
async def test_a_link_to_the_page_does_not_outlive_its_user(gateway: Served, anew: int | None) -> None:
    gateway.erased._users[user_hash("u1")] = Erased(erased_at=SERVED_AT + 2_000, until=anew)

    assert (await gateway.client.get(PREFERENCES)).status == 404
    assert (await gateway.client.post(PREFERENCES, data=b"act=all", headers=FORM)).status == 404
    assert (await gateway.client.post(UNSUBSCRIBE)).status == 200
    if anew is not None:
        assert (await gateway.client.get(path_of(LINKS.preferences("u1", anew + 1)))).status == 200


async def test_the_page_shows_categories_by_name_and_description_escaped(gateway: Served) -> None:
    text = await (await gateway.client.get(PREFERENCES)).text()

    assert "News &lt;&amp;&gt;" in text
    assert "What&#39;s new" in text
    assert "always on" in text
    assert "<script" not in text


@pytest.mark.parametrize("path", [UNSUBSCRIBE, PREFERENCES])
async def test_pages_have_a_strict_policy_and_are_kept_by_nobody(gateway: Served, path: str) -> None:
    answer = await gateway.client.get(path)

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert "form-action 'self'; frame-ancestors 'none'; base-uri 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(("wanted", "lang"), [("de-CH,de;q=0.9", 'lang="de" dir="ltr"'), ("ar", 'lang="ar" dir="rtl"')])
async def test_pages_are_in_the_language_of_the_browser(gateway: Served, wanted: str, lang: str) -> None:
    answer = await gateway.client.get(PREFERENCES, headers={"Accept-Language": wanted})

    assert lang in await answer.text()


def fields_of(page: str) -> list[tuple[str, str]]:
    """What a browser would send of the page's first form, as nobody changes anything."""
    form = page[page.index("<form") : page.index("</form>")]
    fields = []
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") != "checkbox" or " checked" in tag:
            fields.append((attributes["name"], attributes["value"]))
    for name, options in re.findall(r'<select name="([^"]*)">(.*?)</select>', form, re.DOTALL):
        fields.append((name, re.findall(r'value="([^"]*)" selected', options)[0]))
    return fields


async def test_a_form_that_comes_back_as_it_was_changes_nothing(gateway: Served) -> None:
    fields = fields_of(await (await gateway.client.get(PREFERENCES)).text())
    answer = await gateway.client.post(PREFERENCES, data=urlencode(fields), headers=FORM)

    assert answer.status == 200
    assert gateway.log == []


async def patched(gateway: Served, fields: list[tuple[str, str]]) -> Any:
    answer = await gateway.client.post(PREFERENCES, data=urlencode(fields), headers=FORM)
    assert answer.status == 200
    [(topic, key, command)] = gateway.log
    assert (topic, key) == (COMMANDS, b"u1")
    said = msgspec.json.decode(command)
    assert said["type"] == "preferences.patch"
    return said["preferences"]


async def test_a_box_that_was_cleared_turns_off_just_that(gateway: Served) -> None:
    fields = fields_of(await (await gateway.client.get(PREFERENCES)).text())
    fields.remove(("on", "category/marketing/email"))

    assert await patched(gateway, fields) == {"categories": {"marketing": {"email": False}}}


async def test_turning_a_channel_off_takes_back_what_lets_categories_through(gateway: Served) -> None:
    gateway.document = {"categories": {"marketing": {"email": True}}}
    fields = fields_of(await (await gateway.client.get(PREFERENCES)).text())
    fields.remove(("on", "channel/email"))

    patch = await patched(gateway, fields)
    assert patch == {"channels": {"email": False}, "categories": {"marketing": {"email": None}}}


async def test_quiet_hours_and_digests_are_chosen_on_the_page(gateway: Served) -> None:
    fields = dict(fields_of(await (await gateway.client.get(PREFERENCES)).text()))
    changed = {**fields, "quiet": "own", "quiet_start": "21:00", "quiet_end": "07:00", "every/social": "day"}

    patch = await patched(gateway, list(changed.items()))
    assert patch["quiet_hours"]["start"] == "21:00"
    assert patch["digest"] == {"social": {"every": "day", "at": "09:00", "on": None}}


async def test_unsubscribing_from_everything_leaves_no_exception(gateway: Served) -> None:
    categories = {"marketing": {"email": True, "push": False}}
    gateway.document = {"categories": categories, "event_types": {"a.*": {"sms": True}}}

    assert await patched(gateway, [("act", "all")]) == {
        "channels": {"push": False, "email": False, "sms": False},
        "categories": {"marketing": {"email": None}},
        "event_types": {"a.*": {"sms": None}},
    }


async def test_what_can_not_be_saved_changes_nothing_and_says_why(gateway: Served) -> None:
    fields = [("quiet", "own"), ("quiet_start", "22:00"), ("quiet_end", "22:00"), ("act", "save")]
    answer = await gateway.client.post(PREFERENCES, data=urlencode(fields), headers=FORM)

    assert answer.status == 422
    assert "quiet_hours.end is equal to start" in await answer.text()
    assert gateway.log == []


async def test_a_form_from_another_site_is_refused(gateway: Served) -> None:
    answer = await gateway.client.post(PREFERENCES, data=b"act=all", headers={**FORM, "Sec-Fetch-Site": "cross-site"})

    assert answer.status == 403
    assert gateway.log == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (600 << 10), FORM, 413),
        (b"&".join(b"on=%d" % n for n in range(10_001)), FORM, 400),
        (b"on=%FF\xff", FORM, 400),
        (b"{}", {"Content-Type": "application/json"}, 415),
    ],
)
async def test_forms_are_bounded(gateway: Served, body: bytes, headers: dict[str, str], status: int) -> None:
    assert (await gateway.client.post(PREFERENCES, data=body, headers=headers)).status == status
    assert gateway.log == []
