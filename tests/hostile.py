"""What others may write: JSON of every kind, and every field of every record that it can stand in."""

import json
from typing import Any

from hypothesis import strategies as st

#: Values that nobody could take, and some that look like them.
REFUSED = [
    "1e999",
    "-1e999",
    "1E+0400",
    "18446744073709551616",
    "-9223372036854775809",
    "1" * 4_400,
    "1" * 400 + ".5",
    "NaN",
    "Infinity",
    "-Infinity",
    r'"\u0000"',
    r'"a\u0000"',
    r'"\ud800"',
    r'"\udc00x"',
    r'"\ud800\ud800"',
    r'{"\u0000": 1}',
    '{"a": 1e999, "a": 1}',
    "[" * 100 + "]" * 100,
    '{"a":' * 100 + "1" + "}" * 100,
    "[" * 20_000 + "]" * 20_000,
]
TAKEN = [
    "18446744073709551615",
    "-9223372036854775808",
    "1e308",
    "1e-999",
    "5e-324",
    "-0.0",
    "9999999999999999999",
    "0." + "0" * 400 + "1",
    r'"\\u0000"',
    r'"\ud83d\ude00"',
    r'"\\ud800"',
    '"id 4e5000"',
    '"' + "1" * 400 + '"',
    '{"": {"": ""}}',
    '{"a": 1, "a": 2}',
    "[" * 99 + "]" * 99,
    "[" + "[]," * 500 + "1]",
]

_characters = st.one_of(
    st.characters(exclude_categories=()), st.sampled_from('\0\x7f\ud800\udfff\u2028e\u0301\N{GRINNING FACE}\\"')
)
_names = st.one_of(st.text(_characters, max_size=5), st.sampled_from(["", "a", "user_id", "k" * 300]))
_numbers = st.one_of(
    st.integers(),
    st.integers(2**63 - 2, 2**64 + 2),
    st.integers(-(2**63) - 2, -(2**63) + 2),
    st.floats(),
    st.sampled_from([-0.0, 5e-324, 1e308, 10**30, -(10**400)]),
).map(lambda number: json.dumps(number) if not isinstance(number, int) else str(number))
_written = st.sampled_from(["1e999", "-1E+400", "1e308", "1e-400", "0e9999", "1" * 25, "-0", "NaN"])
_scalars = st.one_of(
    st.sampled_from(["null", "true", "false"]), _numbers, _written, st.text(_characters, max_size=6).map(json.dumps)
)


def _object(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


#: JSON texts: any characters, repeated members, numbers of every size, NaN.
texts = st.recursive(
    _scalars,
    lambda parts: st.one_of(
        st.lists(parts, max_size=4).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(_names, parts), max_size=4).map(_object),
        st.tuples(st.integers(90, 110), parts).map(lambda deep: "[" * deep[0] + deep[1] + "]" * deep[0]),
    ),
    max_leaves=8,
)


AT = "2026-03-04T12:00:00Z"
REQUEST = {"user_id": "ann", "event_type": "a.b", "template_id": "t"}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "a.b", "subject": "ann"}
RECEIPT = {
    "id": "r",
    "user_id": "ann",
    "notification_id": "n",
    "status": "opened",
    "occurred_at": "2026-03-04T12:00:00Z",
}
COMMAND = {"id": "c", "user_id": "ann", "at": AT}
WEB = {"endpoint": "https://push.example.com/1", "keys": {"p256dh": "k", "auth": "a"}}

RECORDS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (
        REQUEST,
        ("content", "data", "channels", "priority", "idempotency_key", "notification_id", "assigned_id", "source",
         "send_at", "expires_at", "collapse_key", "campaign_id", "locale", "created_at", "inbox", "push",
         "replay_id", "other"),
    ),
    (
        CLOUD_EVENT,
        ("time", "datacontenttype", "data", "data_base64", "priority", "channels", "templateid", "sendat", "expiresat",
         "collapsekey", "campaignid", "locale", "other"),
    ),
    (
        RECEIPT,
        ("send_id", "reason", "channel", "provider", "provider_message_id", "detail", "settled", "other"),
    ),
    *(
        ({**COMMAND, "type": kind, **fields}, (*others, "other"))
        for kind, fields, others in (
            ("profile.set", {}, ("email", "email_verified", "phone", "locale", "timezone", "name", "attributes")),
            ("device.add", {"device_id": "d", "platform": "web", "subscription": WEB}, ("token", "app_id", "locale")),
            ("device.remove", {"device_id": "d"}, ("token_hash", "unless_user")),
            ("preferences.set", {"preferences": {}}, ()),
            ("preferences.patch", {"preferences": {}}, ()),
            ("consent.set", {"channel": "sms", "category": "c", "granted": True, "evidence": 1}, ()),
            ("notification.cancel", {"notification_id": "n"}, ("campaign_id", "source")),
            ("inbox.mark", {"all": True, "as": "read"}, ("notification_id",)),
            ("inbox.snooze", {"notification_id": "n"}, ("until",)),
            ("activity.seen", {}, ("timezone",)),
            ("suppression.add", {"channel": "sms", "address": "+1"}, ("address_hash", "reason")),
            ("suppression.remove", {"channel": "sms", "address": "+1"}, ("address_hash",)),
            ("user.erase", {}, ()),
        )
    ),
]  # fmt: skip
FIELDS = [(record, field) for record, others in RECORDS for field in (*record, *others)]


def written_with(record: dict[str, Any], field: str, text: str) -> bytes:
    """The record as JSON, with a text of JSON as one of its fields."""
    others = [(name, json.dumps(value)) for name, value in record.items() if name != field]
    return _object([*others, (field, text)]).encode()
