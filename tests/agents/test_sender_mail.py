"""What the email role adds to a rendered mail, and that every attempt carries the same."""

import re
from dataclasses import replace
from typing import Any

import pytest

from app.domain.catalog import Catalog
from app.domain.links import Click, Links, OfSend, Tokens
from app.domain.links import Preferences as PreferencesToken
from schemas.config import Template, TemplateVersion
from schemas.requests import Content
from tests.agents.senders import LINKS, email
from tests.agents.stage import DAY, NOON, POLICY, a_catalog, a_send

HTML = (
    '<html><head><style>a{color:red}</style></head><body><a href="https://shop.example/?a=1&amp;b=2">Shop</a>'
    '<a href="mailto:help@shop.example">Help</a><a href="#top">Up</a></body></html>'
)


def a_mail(**changes: Any) -> Any:
    content = Content(title="Sale", body="Come", html=HTML)
    given = {"channel": "email", "category": "news", "template_id": None, "content": content}
    return a_send(**{**given, **changes})


def category(**rules: Any) -> Catalog:
    return a_catalog(categories={**POLICY["categories"], "news": {"channels": ["email"], **rules}})


def hrefs(html: str) -> list[str]:
    return [found.replace("&amp;", "&") for found in re.findall(r'href="([^"]*)"', html)]


def token_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".gif")


def test_one_click_mail_names_a_link_that_unsubscribes_its_recipient() -> None:
    stage = email()
    stage.take(a_send(channel="email", category="marketing", event_type="sale"))

    headers = stage.calls[0].message.headers
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    found = re.fullmatch(r"<https://n\.example/v1/unsubscribe/([A-Za-z0-9_-]+)>", headers["List-Unsubscribe"])
    assert found is not None
    send = bytes.fromhex(stage.calls[0].handle.send_id.replace("-", ""))
    assert LINKS.tokens.read("unsubscribe", found[1], OfSend) == OfSend("u1", "email", "marketing", send)
    assert "u1" not in found[1]


def test_other_mail_has_no_unsubscribe_header() -> None:
    stage = email()
    stage.take(a_send(channel="email"))

    assert stage.calls[0].message.headers == {}


@pytest.mark.parametrize("rules", [{"unsubscribe": "one_click"}, {"footer": True}])
def test_without_links_mail_that_needs_one_is_not_sent(rules: dict[str, Any]) -> None:
    stage = email(None, catalog=category(**rules))
    stage.take(a_mail())

    assert stage.calls == []
    assert [(event.status, event.reason) for event in stage.events] == [("failed", "no_provider")]


def test_without_links_other_mail_is_sent_untracked() -> None:
    stage = email(None, catalog=category(tracking="all"))
    stage.take(a_mail())

    assert "n.example" not in (stage.calls[0].message.html or "")


@pytest.mark.parametrize("tracking", ["none", "opens", "clicks", "all", None])
def test_tracking_is_what_the_category_says_and_off_by_default(tracking: str | None) -> None:
    stage = email(catalog=category(**({} if tracking is None else {"tracking": tracking})))
    stage.take(a_mail())

    html = stage.calls[0].message.html or ""
    assert ("/v1/track/open/" in html) is (tracking in ("opens", "all"))
    assert ("/v1/track/click/" in html) is (tracking in ("clicks", "all"))
    assert "mailto:help@shop.example" in hrefs(html)
    assert "#top" in hrefs(html)


@pytest.mark.parametrize(("rules", "priority"), [({"critical": True}, "normal"), ({}, "critical")])
def test_critical_mail_is_never_tracked(rules: dict[str, Any], priority: str) -> None:
    stage = email(catalog=category(tracking="all", **rules))
    stage.take(a_mail(priority=priority))

    assert "/v1/track/" not in (stage.calls[0].message.html or "")


def test_a_tracked_link_leads_where_the_mail_says_and_names_the_send() -> None:
    stage = email(catalog=category(tracking="all"))
    stage.take(a_mail())

    html = stage.calls[0].message.html or ""
    [clicked] = [href for href in hrefs(html) if "/v1/track/click/" in href]
    named = LINKS.tokens.read("click", token_of(clicked), Click)
    assert named is not None
    assert named.url == "https://shop.example/?a=1&b=2"
    [pixel] = re.findall(r'src="([^"]*)"', html)
    assert LINKS.tokens.read("open", token_of(pixel), OfSend) == named.sent


def test_the_text_part_is_made_of_the_html_with_the_links_themselves() -> None:
    catalog = catalog_with({"subject": "s", "html": "<p>Hi</p><p><a href='https://shop.example/'>Shop</a></p>"})
    stage = email(catalog=catalog)
    stage.take(a_mail(template_id="news", content=None))

    assert stage.calls[0].message.text == "Hi\n\nShop (https://shop.example/)"


def test_the_footer_has_the_link_and_the_postal_address_in_both_parts() -> None:
    stage = email(catalog=category(footer=True), postal_address="Acme & Co\n1 Street")
    stage.take(a_mail())

    message = stage.calls[0].message
    assert message.text is not None
    assert message.html is not None
    assert "Acme &amp; Co<br>1 Street" in message.html
    assert "Acme & Co\n1 Street\nUnsubscribe: https://n.example/v1/unsubscribe/" in message.text
    assert "https://n.example/v1/unsubscribe/" in message.html


@pytest.mark.parametrize("links", [LINKS, None])
def test_what_can_not_be_turned_off_has_the_footer_without_a_link(links: Links | None) -> None:
    rules = {"opt_out": "never", "unsubscribe": "one_click", "footer": True}
    stage = email(links, catalog=category(**rules), postal_address="Acme")
    stage.take(a_mail())

    message = stage.calls[0].message
    assert message.headers == {}
    assert (message.text or "").endswith("\n\n-- \nAcme")
    assert "/v1/unsubscribe/" not in (message.html or "")


def catalog_with(parts: dict[str, str], locale: str = "default", **rules: Any) -> Catalog:
    template = TemplateVersion(
        version=1, at="2026-01-01T00:00:00Z", template=Template(id="news", channels={"email": {locale: parts}})
    )
    catalog = category(**rules)
    return replace(catalog, templates={**catalog.templates, "news": template})


def test_templates_know_the_links_to_unsubscribe_and_to_the_preferences() -> None:
    parts = {"subject": "s", "text": "{{ unsubscribe_url }} {{ preferences_url }}"}
    stage = email(catalog=catalog_with(parts))
    stage.take(a_mail(template_id="news", content=None))

    unsubscribe, preferences = (stage.calls[0].message.text or "").split()
    assert LINKS.tokens.read("unsubscribe", token_of(unsubscribe), OfSend) is not None
    named = LINKS.tokens.read("preferences", token_of(preferences), PreferencesToken)
    assert named == PreferencesToken("u1", (NOON + 30 * DAY) // 1000)


def test_templates_have_null_where_no_link_can_be_made() -> None:
    parts = {"subject": "s", "text": "[{{ unsubscribe_url }}{{ preferences_url }}]"}
    stage = email(None, catalog=catalog_with(parts))
    stage.take(a_mail(template_id="news", content=None))

    assert stage.calls[0].message.text == "[]"


def test_reply_to_and_the_preheader_come_from_the_template() -> None:
    parts = {"subject": "s", "html": "<p>Hi</p>", "preheader": "<{{ who }}>", "reply_to": "help@shop.example"}
    stage = email(catalog=catalog_with(parts))
    stage.take(a_mail(template_id="news", content=None))

    message = stage.calls[0].message
    assert message.reply_to == "help@shop.example"
    assert "&lt;Ada&gt;" in (message.html or "")
    assert message.text == "Hi"


def test_a_reply_to_that_is_no_address_is_a_bad_template() -> None:
    parts = {"subject": "s", "text": "x", "reply_to": "{{ who }}, eve@example.com"}
    stage = email(catalog=catalog_with(parts))
    stage.take(a_mail(template_id="news", content=None))

    assert [(event.status, event.reason) for event in stage.events] == [("failed", "bad_template")]


def test_mail_in_arabic_reads_from_right_to_left() -> None:
    stage = email(catalog=catalog_with({"subject": "s", "html": "<p>x</p>"}, "ar"))
    stage.take(a_mail(template_id="news", content=None))

    assert (stage.calls[0].message.html or "").startswith('<html dir="rtl" lang="ar">')


def test_all_attempts_carry_the_same_mail_whatever_policy_and_keys_there_are_by_then() -> None:
    stage = email(catalog=category(tracking="all", unsubscribe="one_click", footer=True), postal_address="Acme")
    stage.take(a_mail())
    first = stage.calls[0].message
    stage.answer("retry", code="busy")
    stage.machine.catalog = category(tracking="none")
    config = stage.machine.channel_config
    newer = Links("https://n.example", Tokens(["a newer key of these tests", "the signing key of these tests"]))
    stage.machine.channel_config = replace(config, links=newer)
    stage.wait_for_call()

    assert stage.calls[0].message == first
