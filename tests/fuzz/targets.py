"""What is fuzzed: each target takes inputs of one kind, and raises where the system doesn't hold out against one."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import strategies as st
from msgspec import Struct

from agents.sender.calls import Call
from app.api.routes import Route
from app.domain.outcome import Outcome
from app.domain.partition import partition_of
from app.domain.policy import PolicyError, parse_policy
from app.domain.rendering import check_syntax, compile_template, render, variables_of
from app.kafka.batches import Pieces, UnreadableBatch, open_batch, readable
from app.kafka.parsing import Parsed, parse
from app.kafka.unpacking import Unpackable
from schemas import topics
from schemas.config import Template, TemplateVersion
from schemas.instants import rfc3339
from tests.fuzz import described, gateway, inputs
from tests.fuzz.corpus import accepting, introduced, policies, seeds
from tests.fuzz.gateway import Asking
from tests.fuzz.inputs import Fed, Script
from tests.fuzz.machines import PARTITIONS, Broken, Machines

_VIEWS = {
    "router": ("profile", "devices", "preferences", "consents", "known"),
    "in_app": ("inbox", "inbox_count", "inbox_summary", "inbox_changes"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """``inputs``: of ``kind``, which JSON can hold. ``of_bytes``: an input out of the bytes that a fuzzer of bytes
    makes, beginning with ``begin_with``; None: there are none."""

    name: str
    kind: Any
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    of_bytes: Callable[[bytes], Any] | None = None
    begin_with: Callable[[], Sequence[bytes]] = tuple


@cache
def _world() -> Machines:
    return introduced(Machines(accepting))


def play(script: Script) -> None:
    """Feeds the records, lets all waits end, and judges. Raises Broken, and whatever a role would have died of."""
    strict = all(fed.topic in inputs.PUBLIC for fed in script.records)
    answers = iter(script.answers)
    machines = _world().fork(lambda call: _outcome(call, next(answers, "ok")), strict=strict)
    for fed in script.records:
        machines.after(fed.after_ms)
        for _ in range(fed.times):
            _feed(machines, fed)
        _neighbour(machines)
        if script.restarts:
            machines.restart()
    _look_at(machines)
    machines.run_out()
    _look_at(machines)
    machines.judge()


def _outcome(call: Call, kind: Any) -> Outcome | None:
    if kind == "nothing":
        return None
    if call.purpose == "ask" and kind not in ("ok", "in_doubt"):
        return None
    doubt: Any = "timeout" if kind == "in_doubt" else None
    return Outcome(kind, provider_message_id="m" if kind == "ok" else None, doubt=doubt)


def _feed(machines: Machines, fed: Fed) -> None:
    own = partition_of(fed.key or b"", PARTITIONS)
    machines.feed(
        fed.topic,
        fed.key,
        fed.value,
        partition=(own + fed.astray) % PARTITIONS,
        timestamp=fed.timestamp,
        headers=fed.named_headers(),
    )


def _neighbour(machines: Machines) -> None:
    """Whatever came, an ordinary request of somebody else in that partition is accepted at once."""
    for number in range(PARTITIONS):
        user = _NEIGHBOURS[number]
        before = len(machines.events)
        said = {"user_id": user, "event_type": "mail.sent", "channels": ["in_app"], "data": {"at": machines.now}}
        machines.feed(topics.EVENTS, user.encode(), msgspec.json.encode(said))
        if not any(e.user_id == user for e in machines.events[before:]):
            raise Broken(f"a neighbour in partition {number} is not heard")


def _a_user_of(partition: int) -> str:
    return next(f"neighbour{n}" for n in range(100) if partition_of(f"neighbour{n}".encode(), PARTITIONS) == partition)


_NEIGHBOURS = [_a_user_of(partition) for partition in range(PARTITIONS)]


def _look_at(machines: Machines) -> None:
    """Everything that is known of users can be read and shown."""
    for user in ("ann", "bob", *_NEIGHBOURS):
        partition = partition_of(user.encode(), PARTITIONS)
        for role, views in _VIEWS.items():
            for view in views:
                shown = msgspec.json.encode(machines.read(role, partition, view, user, {}))
                msgspec.json.decode(shown)


def _of_value(topic: str) -> Callable[[bytes], Script]:
    return lambda data: Script((Fed(topic, b"ann", data),))


def _values_of(topic: str) -> Callable[[], Sequence[bytes]]:
    return lambda: [msgspec.json.encode(said) for said in seeds()[topic]]


def _of_topic(topic: str, together: Sequence[str]) -> Target:
    """One topic's records, also among others."""
    script = st.one_of(inputs.scripts((topic,), 2), inputs.scripts((topic, *together), 4))
    return Target(topic, Script, script, play, _of_value(topic), _values_of(topic))


TOPICS: tuple[Target, ...] = (
    *(_of_topic(topic, inputs.PUBLIC) for topic in inputs.PUBLIC),
    *(_of_topic(topic, (*inputs.PUBLIC, *inputs.OWN)) for topic in (*inputs.SENDS, *inputs.OWN)),
)


def _of_route(route: Route) -> Target:
    return Target(f"{route.method} {route.path}", Asking, inputs.requests(route), gateway.play)


class Text(Struct, frozen=True):
    """A policy, or the source of one part of a template."""

    text: str


def _policy(text: Text) -> None:
    """Taken, or refused with problems that can be shown."""
    try:
        parse_policy(text.text)
    except PolicyError as error:
        if not error.problems:
            raise Broken("refused without a problem") from error
        msgspec.json.encode(error.problems)


def _template(text: Text) -> None:
    """Refused when it is put, or rendered to text, or an error of this send alone; in bounded time by its budget."""
    for channel in ("push", "email", "in_app"):
        mail = channel == "email"
        parts = (
            {"subject": text.text, "html": text.text} if mail else {"title": text.text, "body": "b", "url": text.text}
        )
        template = Template(id="t", channels={channel: {"en": parts}})
        if check_syntax(template):
            continue
        compiled = compile_template(TemplateVersion(version=1, template=template, at=rfc3339(0)))
        shown = render(compiled, channel, "en", _VARIABLES)
        msgspec.json.encode(shown)


_VARIABLES = variables_of(
    {
        "x": 1,
        "big": 2**64 - 1,
        "f": 1e308,
        "s": "a\u2028b",
        "none": None,
        "list": [3, None, "a", {"n": 1}],
        "o": {"k": []},
    },
    {"name": None, "id": "ann", "attributes": {"tier": "gold"}},
    [{"data": {"n": n}, "at": "2026-03-04T12:00:00Z"} for n in range(3)],
)


class Batch(Struct, frozen=True):
    """What a fetch brings of a partition."""

    data: bytes


def _batch(batch: Batch) -> None:
    """Every record of a batch is read or passed over, whatever its bytes are."""
    for piece in Pieces(batch.data):
        try:
            _, plain = readable(open_batch(piece))
        except (UnreadableBatch, Unpackable):
            continue
        if len(plain) < _V2_BYTES or plain[16] != 2:
            continue
        for seen, record in enumerate(parse(plain)):
            if seen > len(plain):
                raise Broken(f"more records than the batch of {len(plain)} bytes can hold")
            if isinstance(record, Parsed):
                [name.encode(errors="surrogateescape") for name, _ in record.headers]


_V2_BYTES = 61


def _batches() -> Sequence[bytes]:
    """Real ones: of one record and of several, with headers and without, packed and not."""
    made = []
    for codec in (0, 1):
        builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
        for offset, said in enumerate(seeds()[topics.EVENTS][:3]):
            headers = [("ce_id", b"1"), ("none", None)] if offset else []
            builder.append(offset, 1_772_625_600_000, b"ann", msgspec.json.encode(said), headers)
        made.append(bytes(builder.build()))
    return (*made, made[0] + made[1], made[0][:-5])


def _with_checksum(data: bytes) -> Batch:
    """A batch whose checksum is right, so that its contents are looked at too."""
    mended = bytearray(data)
    if len(mended) >= _V2_BYTES:
        struct.pack_into(">i", mended, 8, len(mended) - 12)
        mended[16] = 2
        struct.pack_into(">I", mended, 17, calc_crc32c(bytes(mended[21:])))
    return Batch(bytes(mended))


def _batch_inputs() -> st.SearchStrategy[Batch]:
    spoilt = st.sampled_from(_batches()).flatmap(inputs.spoilt)
    return st.one_of(spoilt.map(_with_checksum), spoilt.map(Batch), st.binary(max_size=200).map(_with_checksum))


def _utf_8(data: bytes) -> Text:
    return Text(data.decode(errors="replace"))


OTHERS: tuple[Target, ...] = (
    Target("policies", Text, inputs.policies().map(Text), _policy, _utf_8, lambda: [t.encode() for t in policies()]),
    Target(
        "templates",
        Text,
        inputs.templates().map(Text),
        _template,
        _utf_8,
        lambda: list(map(str.encode, inputs.SOURCES)),
    ),
    Target("batches", Batch, _batch_inputs(), _batch, _with_checksum, _batches),
)

ROUTES: tuple[Target, ...] = tuple(_of_route(route) for route in gateway.ROUTES)


def _of_operation(name: str) -> Target:
    made = st.deferred(lambda: described.calls(name))
    return Target(f"as described: {name}", Asking, made, lambda asking: described.check(name, asking))


OPERATIONS: tuple[Target, ...] = tuple(_of_operation(name) for name in described.names())
TARGETS: tuple[Target, ...] = (*TOPICS, *ROUTES, *OPERATIONS, *OTHERS)
