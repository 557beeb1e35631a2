"""Requests and commands: what is taken, what is refused and by which field's name."""

import json
from typing import Any

import msgspec
import pytest

from schemas.cloudevents import read_event
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.instants import parse_ms, rfc3339
from schemas.requests import PushOptions, check_request, content_hash, read_request

NOW = parse_ms("2026-03-04T12:00:00Z")
DAY = 24 * 3_600_000


def take(value: bytes) -> None:
    request = read_request(value)
    check_request(request, NOW)
    content_hash(request, None)


def checked(**fields: Any) -> None:
    take(json.dumps({"user_id": "ann", "event_type": "a.b", **fields}).encode())


def refused(**fields: Any) -> str | None:
    with pytest.raises(Invalid) as refusal:
        checked(**fields)
    return refusal.value.field


@pytest.mark.parametrize(
    ("field", "longest"),
    [
        ("user_id", 128),
        ("event_type", 100),
        ("idempotency_key", 255),
        ("source", 100),
        ("collapse_key", 64),
        ("campaign_id", 100),
    ],
)
def test_lengths_are_in_code_points_and_control_characters_are_refused(field: str, longest: int) -> None:
    letter = "a" if field == "event_type" else "\N{GRINNING FACE}"
    checked(**{field: letter * longest})
    assert refused(**{field: letter * (longest + 1)}) == field
    for control in ("\x00", "\n", "\x1f", "\x7f", "\x9f"):
        assert refused(**{field: f"a{control}b"}) == field
        assert refused(**{field: f"a{control}"}) == field


@pytest.mark.parametrize("field", ["user_id", "event_type", "idempotency_key"])
def test_what_must_not_be_empty_is_refused(field: str) -> None:
    assert refused(**{field: ""}) == field


@pytest.mark.parametrize("field", ["source", "collapse_key", "campaign_id"])
def test_what_may_be_empty_is_taken(field: str) -> None:
    checked(**{field: ""})


@pytest.mark.parametrize("locale", ["en", "de-CH-1996", "zh-Hant-TW", "x-klingon", "i-lux", "en_US"])
def test_language_tags_are_taken(locale: str) -> None:
    checked(locale=locale)


@pytest.mark.parametrize("locale", ["e", "en-", "x", "en us", "en\n"])
def test_what_is_no_language_tag_is_refused(locale: str) -> None:
    assert refused(locale=locale) == "locale"


def test_an_explicit_null_is_an_absent_field_and_unknown_fields_are_ignored() -> None:
    optional = ("template_id", "content", "data", "channels", "priority", "idempotency_key", "notification_id")
    others = ("source", "send_at", "expires_at", "collapse_key", "campaign_id", "locale", "created_at", "what_is_this")
    checked(**dict.fromkeys((*optional, *others)))
    checked(what_is_this={"deep": [1]})


def test_data_is_measured_as_compact_json() -> None:
    room = 64 * 1024 - len('{"x":""}')
    checked(data={"x": "a" * room})
    assert refused(data={"x": "a" * (room + 1)}) == "data"
    spaced = b'{"user_id":"ann","event_type":"a","data":{' + b" " * 70_000 + b'"x":1}}'
    check_request(read_request(spaced), NOW)


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":"\\ud800"}',
        b'{"x":' + b"[" * 101 + b"]" * 101 + b"}",
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_data_that_others_could_not_decode_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(Invalid) as refusal:
        take(b'{"user_id":"ann","event_type":"a","data":' + data + b"}")
    assert refusal.value.field in ("data", "data.x")


def test_a_record_that_is_not_utf_8_is_refused_wherever_the_fault_lies() -> None:
    for member in (b'"data":{"x":"\xff"}', b'"source":"\xff"', b'"unknown":"\xff"'):
        with pytest.raises(Invalid, match="UTF-8"):
            read_request(b'{"user_id":"ann","event_type":"a",' + member + b"}")


def test_times_have_their_limits() -> None:
    checked(send_at=rfc3339(NOW + 366 * DAY))
    assert refused(send_at=rfc3339(NOW + 366 * DAY + 1)) == "send_at"
    checked(send_at=rfc3339(NOW), expires_at=rfc3339(NOW + 1))
    assert refused(send_at=rfc3339(NOW), expires_at=rfc3339(NOW)) == "expires_at"
    assert refused(send_at="2026-03-04T12:00:00") == "send_at"
    assert refused(send_at=NOW) == "send_at"


def hash_of(**fields: Any) -> bytes:
    raw = fields.pop("raw", None)
    value = json.dumps({"user_id": "ann", "event_type": "a.b", **fields}).encode()
    return content_hash(read_request(value if raw is None else value[:-1] + b',"data":' + raw + b"}"), "note")


def test_contents_are_compared_as_canonical_json() -> None:
    same = [b'{"a":1,"b":[2]}', b'{ "b" : [2.0], "a" : 1e0 }', b'{"\\u0061":1,"b":[20e-1]}']
    assert len({hash_of(raw=raw) for raw in same}) == 1
    others = [b'{"a":"1","b":[2]}', b'{"a":1,"b":[2,2]}', b'{"a":1.5,"b":[2]}', b'{"a":1}', b'{"a":1,"b":[2],"c":null}']
    assert len({hash_of(raw=raw) for raw in (same[0], *others)}) == 1 + len(others)


# --- cloud events ---


def event(**attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "s", "type": "a.b", "subject": "ann", **attributes}


@pytest.mark.parametrize(
    "kind", ["application/json", "text/json", "application/vnd.shop+json; charset=utf-8", "application/JSON"]
)
def test_a_cloud_events_data_may_be_any_kind_of_json(kind: str) -> None:
    said, _ = read_event(json.dumps(event(datacontenttype=kind, data={"n": 1})).encode(), (), NOW)
    headers = [(f"ce_{name}", value.encode()) for name, value in event().items()]
    binary, _ = read_event(b'{"n":1}', [*headers, ("content-type", kind.encode())], NOW)
    assert json.loads(said.data_json) == json.loads(binary.data_json) == {"n": 1}


@pytest.mark.parametrize("kind", ["application/xml", "text/jsonp", "json"])
def test_a_cloud_events_data_that_is_not_json_is_refused(kind: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_event(json.dumps(event(datacontenttype=kind, data={"n": 1})).encode(), (), NOW)
    assert refusal.value.field == "datacontenttype"


def test_every_attribute_becomes_its_field() -> None:
    extensions = {
        "priority": "high",
        "channels": "email, sms",
        "templateid": "t",
        "sendat": rfc3339(NOW),
        "expiresat": rfc3339(NOW + 1),
        "collapsekey": "k",
        "campaignid": "c",
        "locale": "en",
        "time": rfc3339(NOW),
    }
    headers = [(f"ce_{name}", value.encode()) for name, value in event(**extensions).items()]
    for request, _ in (read_event(json.dumps(event(**extensions)).encode(), (), NOW), read_event(b"", headers, NOW)):
        assert (request.user_id, request.event_type, request.source, request.idempotency_key) == (
            "ann",
            "a.b",
            "s",
            "1",
        )
        assert (request.priority, request.channels, request.template_id) == ("high", ["email", "sms"], "t")
        assert (request.collapse_key, request.campaign_id, request.locale) == ("k", "c", "en")
        assert [rfc3339(parse_ms(t)) for t in (request.send_at, request.created_at) if t] == [rfc3339(NOW)] * 2


# --- commands ---


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "profile.set"}, "user_id"),
        ({"type": "device.remove", "device_id": "d"}, "user_id"),
        ({"type": "device.remove", "user_id": "ann"}, "device_id"),
        ({"type": "device.add", "user_id": "ann", "device_id": "d", "platform": "ios"}, "token"),
        ({"type": "device.add", "user_id": "ann", "device_id": "d", "platform": "web", "token": "t"}, "subscription"),
        ({"type": "consent.set", "user_id": "ann", "channel": "sms", "category": "c", "granted": True}, "evidence"),
        ({"type": "notification.cancel"}, "notification_id"),
        ({"type": "notification.cancel", "campaign_id": ""}, "notification_id"),
        ({"type": "inbox.mark", "user_id": "ann", "as": "seen"}, "notification_id"),
        ({"type": "inbox.mark", "user_id": "ann", "as": "glanced", "all": True}, "as"),
        ({"type": "suppression.add", "channel": "sms", "address": None}, "address"),
        ({"type": "user.forget", "user_id": "ann"}, "type"),
        ({"user_id": "ann"}, "type"),
        ({"type": "user.erase", "user_id": "ann", "id": ""}, "id"),
        ({"type": "user.erase", "user_id": "ann", "at": "now"}, "at"),
    ],
)
def test_a_bad_command_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_command(json.dumps({"id": "1", "at": rfc3339(NOW), **fields}).encode())
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "push",
    [
        {"sound": "a\nb"},
        {"category": "a\x00"},
        {"thread_id": "a\x7f"},
        {"android_channel_id": "a\r"},
        {"actions": [{"id": "a\n", "label": "A"}]},
        {"data": {"a\n": "b"}},
    ],
    ids=str,
)
def test_names_in_push_options_hold_no_control_characters(push: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(push, PushOptions)
