"""What is fed in, as hypothesis makes it and as a file holds it: real records with one thing or more that is wrong."""

import json
import re
import string
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import yaml
from hypothesis import strategies as st
from msgspec import Struct

from app.api.routes import Route
from schemas import topics
from tests.agents.harness import NOON
from tests.fuzz import gateway
from tests.fuzz.corpus import CLOUD_EVENT, USERS, seeds
from tests.fuzz.gateway import Asked, Asking
from tests.hostile import REFUSED, TAKEN, texts

#: Anybody may write there; and nobody else but Tocsin.
PUBLIC = (*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS)
SENDS = tuple(topic for lanes in topics.SEND_TOPICS.values() for topic in lanes)
OWN = (topics.RESULTS, topics.BROADCASTS, topics.VERIFICATIONS, topics.REPLAY_REQUESTS)

_MINUTE, _HOUR, _DAY, _YEAR = 60_000, 3_600_000, 86_400_000, 31_536_000_000


class Fed(Struct, frozen=True, omit_defaults=True):
    """One record. ``headers``: names and values as bytes. ``timestamp``: None is now. ``astray``: so many partitions
    beside its own. ``after_ms``: time that passes before it. ``times``: it is produced so often."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    timestamp: int | None = None
    astray: int = 0
    after_ms: int = 0
    times: int = 1

    def named_headers(self) -> list[tuple[str, bytes | None]]:
        return [(name.decode(errors="surrogateescape"), said) for name, said in self.headers]


class Script(Struct, frozen=True, omit_defaults=True):
    """Records in their order, and what providers answer, in turn; what isn't said is accepted."""

    records: tuple[Fed, ...]
    answers: tuple[str, ...] = ()
    #: The processes end and start again after each record.
    restarts: bool = False


# --- values ---

#: Strings that somebody, somewhere, reads as something else.
WORDS = (
    "",
    " ",
    "\n",
    "ann",
    "bob",
    "x" * 129,
    "x" * 256,
    "x" * 5_000,
    "é" * 3_000,
    "x" * 70_000,
    "\N{GRINNING FACE}" * 80,
    "a\u2028b",
    "\u202eabc",
    "a\x7fb",
    "ａｎｎ",
    "İ",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "{{ 9 ** 9 ** 9 }}",
    "{% for a in range(10**9) %}x{% endfor %}",
    "00000000-0000-0000-0000-000000000000",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "{63a82c39-78a2-5b32-bbc5-bff671aac091}",
    "urn:uuid:63a82c39-78a2-5b32-bbc5-bff671aac091",
    "63a82c3978a25b32bbc5bff671aac091",
    "63a82c39-78a2-5b32-bbc5-bff671aa\uff10\uff11\uff12\uff13",
    "push",
    "in_app",
    "carrier_pigeon",
    "critical",
    "note",
    "gathered",
    "no_such_template",
    "like.made",
    "login.otp",
    "..",
    "*",
    # instants
    "2026-03-04T12:00:00Z",
    "2026-03-04t12:00:00.123456789012345z",
    "2026-03-04 12:00:00+00:00",
    "2016-12-31T23:59:60Z",
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-12:00",
    "2199-12-31T23:59:59Z",
    "2200-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-03-04T24:00:00Z",
    "2026-03-04T12:00:00+23:59",
    # zones, locales
    "Europe/London",
    "Etc/GMT+12",
    "../../etc/passwd",
    "Australia/Lord_Howe",
    "posixrules",
    "localtime",
    "UTC\n",
    "zh-Hant-TW",
    "i-klingon",
    "x-private",
    "de_CH",
    "a-" * 17 + "a",
    # addresses
    "anna@straße.example",
    "anna@xn--a.example",
    '"quoted"@example.com',
    "a@" + "b" * 64 + ".example",
    "a@1.2.3.4",
    "ann@ex\u00admple.com",
    "+442071838750",
    "+44 20 7183 8750",
    "+0",
    "+" + "9" * 40,
    "tel:+442071838750",
    "ab" * 32,
    "AB" * 32,
    "<" + "ab" * 32 + ">",
    "ab" * 101,
    "g" * 64,
    # links
    "https://a.example/x",
    "//evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://[::1",
    "https://a.example:99999/",
    "/\\evil.example",
    "/" + "x" * 2_050,
    # times of day
    "22:00",
    "24:00",
    "7:5",
    "mon",
)  # fmt: skip

_words = st.sampled_from(WORDS).map(lambda word: json.dumps(word, ensure_ascii=False))
_instants = st.integers(-_YEAR * 60, _YEAR * 250).map(lambda ms: json.dumps(_loosely(ms)))
_few = st.sampled_from(
    ["{}", "[]", "null", "0", "1", "-1", "true", '""', "[null]", '{"":{}}', "[[[]]]", "4294967296", "0.5"]
)
_subtrees = st.sampled_from([json.dumps(said) for topic in (topics.EVENTS, topics.COMMANDS) for said in seeds()[topic]])
_wide = st.sampled_from(
    [
        "[" + ",".join(["1"] * 2_000) + "]",
        json.dumps({f"k{n}": n for n in range(2_000)}),
        json.dumps(["push"] * 200),
        json.dumps("x" * 300_000),
        json.dumps({"x": "y" * 20_000}),
    ]
)

#: The text of any JSON value, and of some that are none.
values = st.one_of(
    _words,
    _few,
    texts,
    st.sampled_from(REFUSED + TAKEN),
    _instants,
    st.text(string.printable).map(json.dumps),
    _subtrees,
    _wide,
)
names = st.one_of(
    st.sampled_from(["", "other", "__proto__", "user_id", "replay_id", "settled", "k" * 300, "é"]), st.text(max_size=8)
)


def _loosely(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*at, name)
        yield from _paths(child, (*at, name))


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode(errors="surrogatepass"))


def _write(tree: Any) -> bytes:
    return msgspec.json.encode(tree)


@st.composite
def objects(draw: st.DrawFn, seed: dict[str, Any]) -> bytes:
    """The seed as JSON, with up to three things changed: a value, a name, one member more or less, or twice."""
    tree = json.loads(json.dumps(seed))
    more = ""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3]))):
        paths = list(_paths(tree))
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        parent = tree
        for name in path[:-1]:
            parent = parent[name]
        if isinstance(parent, msgspec.Raw):
            continue
        match draw(st.sampled_from(["set", "set", "set", "set", "delete", "add", "twice", "null"])):
            case "set":
                parent[path[-1]] = _raw(draw(values))
            case "delete":
                del parent[path[-1]]
            case "null":
                parent[path[-1]] = None
            case "add" if isinstance(parent, dict):
                parent[draw(names).encode(errors="replace").decode()] = _raw(draw(values))
            case _:
                more += f",{json.dumps(str(path[0]))}:{draw(values)}"
    written = _write(tree)
    return written[:-1] + more.encode(errors="surrogatepass") + b"}" if more and tree else written


@st.composite
def spoilt(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed's bytes with a few of them changed, taken out, or put in."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["put", "cut", "set", "end"])):
            case "put":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "set":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                del data[at:]
    return bytes(data)


# --- records ---

_timestamps = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from([-1, 0, 1, 2**63 - 1, NOON - 40 * _DAY, NOON + 59 * _MINUTE, NOON + 2 * _HOUR, NOON + 200 * _YEAR]),
)
_header_names = st.one_of(
    st.sampled_from(
        [b"ce_" + name.encode() for name in CLOUD_EVENT]
        + [b"content-type", b"tocsin-origin", b"traceparent", b"", b"\xff", b"\xed\xa0\x80", b"n" * 300]
    ),
    st.binary(max_size=5),
)
_header_values = st.one_of(
    st.none(),
    st.sampled_from(WORDS).map(lambda word: word.encode(errors="surrogatepass")),
    st.sampled_from([b"application/cloudevents+json", b"application/json", b"1.0", b"notify_events:0:1:abc", b"\xff"]),
    st.binary(max_size=10),
)
_headers = st.lists(st.tuples(_header_names, _header_values), max_size=4).map(tuple)


def _binary_event() -> tuple[tuple[bytes, bytes | None], ...]:
    given = [(f"ce_{name}".encode(), said.encode()) for name, said in CLOUD_EVENT.items() if isinstance(said, str)]
    return tuple(given)


def _key_of(value: bytes, seed: dict[str, Any]) -> bytes | None:
    """The user whom the record speaks of, as a producer would find it."""
    try:
        said = json.loads(value)
        user = said.get("user_id", said.get("subject"))
        return user.encode() if isinstance(user, str) else None
    except (ValueError, AttributeError, RecursionError):
        user = seed.get("user_id", seed.get("subject"))
        return user.encode() if isinstance(user, str) else None


@st.composite
def records(draw: st.DrawFn, allowed: Sequence[str]) -> Fed:
    topic = draw(st.sampled_from(allowed))
    seed = draw(st.sampled_from(seeds()[topic]))
    headers = draw(st.one_of(st.just(()), st.just(()), st.just(()), _headers))
    if topic in topics.EVENT_TOPICS and draw(st.integers(0, 9)) == 0:  # a binary CloudEvent
        attributes = list(_binary_event())
        if draw(st.booleans()):
            at = draw(st.integers(0, len(attributes) - 1))
            attributes[at] = (attributes[at][0], draw(_header_values))
        data: Any = CLOUD_EVENT["data"]
        return Fed(topic, b"ann", draw(objects(data)), (*attributes, *headers))
    value: bytes | None = draw(objects(seed))
    assert value is not None
    key = _key_of(value, seed)
    if key is not None and draw(st.integers(0, 15)) == 0:
        key = draw(st.sampled_from([None, b"", b"bob", b"\xff", b"x" * 1_000, *(u.encode() for u in USERS)]))
    match draw(st.integers(0, 19)):
        case 0:
            value = draw(spoilt(value))
        case 1:
            value = draw(
                st.one_of(st.none(), st.binary(max_size=40), values.map(lambda t: t.encode(errors="surrogatepass")))
            )
        case _:
            pass
    return Fed(
        topic,
        key,
        value,
        headers,
        draw(_timestamps),
        draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1])),
        draw(st.sampled_from([0, 0, 0, 1, 1_000, _MINUTE, 11 * _MINUTE, _HOUR, _DAY])),
        draw(st.sampled_from([1, 1, 1, 1, 2])),
    )


ANSWERS = ("ok", "retry", "throttle", "drop", "bad_token", "config", "in_doubt", "nothing")


def scripts(allowed: Sequence[str], most: int = 5) -> st.SearchStrategy[Script]:
    return st.builds(
        Script,
        st.lists(records(allowed), min_size=1, max_size=most).map(tuple),
        st.lists(st.sampled_from(ANSWERS), max_size=4).map(tuple),
        st.sampled_from([False, False, False, True]),
    )


# --- requests to the gateway ---


@st.composite
def _asked(draw: st.DrawFn, route: Route) -> Asked:
    path = route.path
    for name in re.findall(r"{(\w+)}", path):
        said = draw(
            st.one_of(st.sampled_from(gateway.path_values(name)), st.sampled_from(gateway.path_values(name)), _wild)
        )
        path = path.replace(f"{{{name}}}", gateway.quoted(said), 1)
    query = []
    for name in route.query:
        if draw(st.booleans()):
            query.append(f"{name}={gateway.quoted(draw(st.one_of(_small_numbers, _cursors, _wild)))}")
    target = path + ("?" + "&".join(query) if query else "")
    headers: list[tuple[str, bytes]] = []
    if draw(st.integers(0, 5)) == 0:
        name = draw(
            st.sampled_from(["Idempotency-Key", "Accept", "Content-Type", "Content-Encoding", "Origin", "Expect"])
        )
        headers.append((name, draw(_field_values)))
    body = draw(_body_of(route))
    caller = draw(st.one_of(st.just(_who_may(route)), st.just(_who_may(route)), st.sampled_from(gateway.CALLERS)))
    return Asked(caller, route.method, target, tuple(headers), body)


_wild = st.one_of(
    st.sampled_from([word for word in WORDS if len(word) < 400]),
    st.text(max_size=10),
    st.just("\ud800"),
    st.just("a/b"),
)
_small_numbers = st.integers(-1, 600).map(str)
_cursors = st.one_of(st.binary(max_size=12), values.map(lambda text: text[:500].encode(errors="replace"))).map(
    lambda data: urlsafe_b64encode(data).decode().rstrip("=")
)
_field_values = st.one_of(
    st.sampled_from(
        [b"k1", b"", b"application/yaml", b"text/plain", b"gzip", b"identity", b"*/*", b"\xff", b"k" * 300]
    ),
    st.text(string.printable, max_size=8).map(lambda text: re.sub(r"[\x00-\x1f]", "", text).encode()),
)


def _who_may(route: Route) -> str:
    if route.access.own:
        return "ann"
    return next((who for scope, who in (("send", "shop"), ("read", "shop")) if scope in route.access.scopes), "ops")


def _body_of(route: Route) -> st.SearchStrategy[bytes | None]:
    known = gateway.bodies().get((route.method, route.path))
    if known is not None:
        seeded = st.sampled_from(known).flatmap(objects)
        return st.one_of(seeded, seeded, seeded, seeded.flatmap(spoilt), st.binary(max_size=30), st.none())
    if "policy" in route.path and route.method != "GET":
        text = st.sampled_from(gateway.texts()).map(str.encode)
        return st.one_of(policies().map(str.encode), text.flatmap(spoilt))
    return st.one_of(st.none(), st.none(), st.none(), st.binary(max_size=30), st.just(b"{}"))


def requests(route: Route) -> st.SearchStrategy[Asking]:
    """Requests to a route, also after one to another."""
    one = _asked(route)
    other = st.sampled_from([r for r in gateway.ROUTES if "policy" not in r.path]).flatmap(_asked)
    return st.one_of(st.tuples(one), st.tuples(one, one), st.tuples(other, one)).map(Asking)


# --- policies ---


@st.composite
def policies(draw: st.DrawFn) -> str:
    """A real policy with something in it that is wrong."""
    tree = yaml.safe_load(draw(st.sampled_from(gateway.texts())))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(_paths(tree))))
        parent = tree
        for name in path[:-1]:
            parent = parent[name]
        wild: Any = draw(
            st.one_of(_durations, _wild, st.integers(), st.floats(), st.none(), st.booleans(), st.just({}), st.just([]))
        )
        if isinstance(parent, dict) and draw(st.integers(0, 3)) == 0:
            parent[draw(st.one_of(_wild, st.integers()))] = wild
        elif draw(st.integers(0, 5)) == 0:
            del parent[path[-1]]
        else:
            parent[path[-1]] = wild
        if not tree:
            break
    return str(yaml.safe_dump(tree, allow_unicode=True))


_durations = st.sampled_from(
    ["0s", "1ms", "5m", "99999999999d", "-1s", "1e9h", "24h", "7d", "1.5h", "1h30m", "PT1H", "08:00"]
)


# --- templates ---

SOURCES = (
    "Hello {{ user.name }}, {{ count }} new",
    "{% for item in items %}{{ loop.index }}. {{ item.data.n|round(2) }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% if x is defined and x > 1 %}{{ s|upper|replace('a', 'b') }}{% elif none is none %}{{ list|join }}{% endif %}",
    "{{ list|sort|map(attribute='n')|list }} {{ o|dictsort }} {{ big * big }} {{ f ** 2 }} {{ '%08.3f'|format(f) }}",
    "{% set y = namespace(n=1) %}{% for a in range(10) %}{% set y.n = y.n * 2 %}{% endfor %}{{ y.n }}",
    "{{ s.__class__.__mro__ }} {{ ''.join(list) }} {{ s[1:3] }} {{ x ~ none ~ s }} {{ user.a.t|default('x') }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}{% filter upper %}x{% endfilter %}{% raw %}{{ x }}{% endraw %}",
    "https://a.example/{{ user.id|urlencode }}?q={{ s|urlencode }}",
)
#: Pieces of the language, between blanks.
_PIECES = """
{{ }} {% %} {# #} | . [ ] ( ) ~ + - * ** // % == != < in not and or is if else for endfor endif set range(9999999) x big
f s none list o user items count loop.index |join |sort |sum |round(400) |batch(2) |tojson |format |center(10**9)
|replace('','x') 'a'*999999999 '%999999999d' 1e308 -1 0 [1]*99999 {'a':1} |attr('__class__') |groupby('n') |list
recursive loop(list) |indent(99999) |wordwrap(1) |truncate(-1) |int |float |string|length |random |xmlattr |urlize
"""
_fragments = st.sampled_from(_PIECES.split())


@st.composite
def templates(draw: st.DrawFn) -> str:
    """A template's source with pieces of the language put in, taken out or said again."""
    source = draw(st.sampled_from(SOURCES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(source)))
        put = draw(st.one_of(_fragments, _fragments, st.text(max_size=4)))
        source = source[:at] + put + source[at + draw(st.sampled_from([0, 0, 1, 3, 10])) :]
    return source.encode(errors="replace").decode()
