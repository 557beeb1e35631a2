"""Links: where they may lead, wherever they stand."""

from typing import Any

import msgspec
import pytest

from schemas.cloudevents import read_event
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.links import is_link

NOW = parse_ms("2026-03-04T12:00:00Z")

GOOD = [
    "https://example.com/a?b=c#d",
    "HTTP://example.com",
    "mailto:ann@example.com",
    "tel:+442071838750",
    "/orders/1",
    "/",
    "/a//b",
    "https://straße.example/é",
    "https://example.com/" + "a" * 2_028,
]
BAD = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    " javascript:alert(1)",
    " https://example.com",
    "https://example.com\n",
    "data:text/html,x",
    "file:///etc/passwd",
    "vbscript:x",
    "blob:https://example.com/1",
    "intent://x",
    "myapp://x",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "example.com",
    "../x",
    "#x",
    "?x",
    ":x",
    "https\N{FULLWIDTH COLON}//x",
    "https://example.com/" + "a" * 2_029,
]


@pytest.mark.parametrize("link", GOOD)
def test_links_that_lead_somewhere_safe_are_taken(link: str) -> None:
    assert is_link(link)


@pytest.mark.parametrize("link", BAD)
@pytest.mark.parametrize("where", ["content.url", "content.image", "inbox.actions[0].url", "inbox.icon"])
def test_other_links_are_refused_with_the_field(link: str, where: str) -> None:
    if where == "inbox.icon" and link == "example.com":
        return  # the name of an icon
    said: dict[str, Any] = {"user_id": "ann", "event_type": "a.b"}
    match where:
        case "content.url" | "content.image":
            said["content"] = {"title": "t", "body": "b", where.split(".")[1]: link}
        case "inbox.icon":
            said["inbox"] = {"icon": link}
        case _:
            said["inbox"] = {"actions": [{"label": "Go", "url": link}]}
    with pytest.raises(Invalid) as refusal:
        read_event(msgspec.json.encode(said), (), NOW)
    assert refusal.value.field in (where, where.replace("[0]", "[...]"))


def test_a_scheme_of_the_settings_is_taken_and_no_other() -> None:
    assert is_link("MyApp://orders/1", frozenset(("https", "myapp")))
    assert not is_link("otherapp://orders/1", frozenset(("https", "myapp")))


def test_an_inbox_has_at_most_three_buttons() -> None:
    said = {"user_id": "ann", "event_type": "a.b", "inbox": {"actions": [{"label": "Go", "url": "/a"}] * 4}}
    with pytest.raises(Invalid) as refusal:
        read_event(msgspec.json.encode(said), (), NOW)
    assert refusal.value.field == "inbox.actions"
