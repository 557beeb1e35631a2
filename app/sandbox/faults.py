"""What the sandbox was told to do wrong, and which request it befalls."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta, Struct

from app.sandbox.exchange import Reply, Vendor
from schemas.decode import Invalid, Reader

Action = Literal[
    "error",
    "answer",
    "latency",
    "drip",
    "hang",
    "accept_and_hang",
    "reset",
    "accept_and_reset",
    "reset_stream",
    "accept_and_reset_stream",
    "refuse_stream",
    "goaway",
    "max_streams",
]
#: The caller of these gets no answer.
UNANSWERED = frozenset(
    ("hang", "accept_and_hang", "reset", "accept_and_reset", "reset_stream", "accept_and_reset_stream", "refuse_stream")
)
#: These are said in HTTP/2's own words.
_OF_HTTP2 = frozenset(("reset_stream", "accept_and_reset_stream", "refuse_stream", "goaway", "max_streams"))
#: Fields that belong to one action.
_OWN = {
    "code": ("error",),
    "retry_after": ("error",),
    "answer": ("answer",),
    "bytes_per_s": ("drip", "answer"),
    "streams": ("max_streams",),
}
_REQUIRED = {"answer": "answer", "latency": "ms", "drip": "bytes_per_s", "max_streams": "streams"}

#: Answers of the proxies before a provider: plain HTML, whoever the provider is.
PROXY_CODES = frozenset(("502", "503", "504"))

_Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]

#: Of an answer that somebody made up.
MAX_ANSWER = 64 << 20
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
#: What HTTP itself says of a body.
_OF_HTTP = frozenset(("content-length", "transfer-encoding", "connection"))


class MadeUp(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer that no provider would give. ``repeat``: the body is so many times this text."""

    status: Annotated[int, Meta(ge=200, le=999)] = 200
    headers: dict[str, str] = {}
    body: str = ""
    repeat: Annotated[int, Meta(ge=1)] = 1

    def reply(self, bytes_per_s: int | None = None) -> Reply:
        body = self.body.encode("utf-8", "surrogatepass") * self.repeat
        return Reply(self.status, body, {name.lower(): value for name, value in self.headers.items()}, bytes_per_s)


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule. It befalls only requests that the provider would have accepted."""

    provider: Annotated[str, Meta(min_length=1)]
    action: Action
    #: ``send`` (default), or what else the provider is asked for: ``token`` (fcm), ``list``, ``fetch`` (twilio).
    operation: str = "send"
    address: str | None = None
    fraction: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: int = 0
    #: Of those that it could befall, only each so manieth one.
    every: Annotated[int, Meta(ge=1)] = 1
    times: Annotated[int, Meta(ge=1)] | None = None
    #: The provider's own; left out: the one it gives when it is down.
    code: str | None = None
    #: Seconds, said in the header Retry-After.
    retry_after: Annotated[int, Meta(ge=0)] | None = None
    #: The answer, if any, comes so much later.
    ms: _Milliseconds | None = None
    #: What is answered instead.
    answer: MadeUp | None = None
    #: The answer's body comes at this speed.
    bytes_per_s: Annotated[int, Meta(ge=1)] | None = None
    #: So many requests may be open on the connection from now on.
    streams: Annotated[int, Meta(ge=1, le=1000)] | None = None


_read: Reader[Fault] = Reader(Fault)


def read_fault(body: bytes, vendors: Mapping[str, Vendor]) -> Fault:
    """Raises Invalid, which names the field."""
    fault = _read(body)
    if fault.provider != "*" and fault.provider not in vendors:
        raise Invalid(f"is not one of *, {', '.join(sorted(vendors))}", "provider")
    needed = _REQUIRED.get(fault.action)
    if needed is not None and getattr(fault, needed) is None:
        raise Invalid(f"is required for {fault.action}", needed)
    for name, actions in _OWN.items():
        if getattr(fault, name) is not None and fault.action not in actions:
            raise Invalid(f"belongs to action {' and '.join(actions)}", name)
    if fault.answer is not None:
        _check_answer(fault.answer)
    if fault.action in _OF_HTTP2:
        able = [name for name, vendor in vendors.items() if "h2" in vendor.protocols]
        if fault.provider not in able:
            raise Invalid(f"{fault.action} is for those that speak HTTP/2: {', '.join(sorted(able))}", "action")
    if fault.code is not None and fault.code not in PROXY_CODES:
        if fault.provider == "*":
            raise Invalid(f"differs by provider; for * only {', '.join(sorted(PROXY_CODES))}", "code")
        known = vendors[fault.provider].codes
        if fault.code not in known:
            raise Invalid(f"{fault.provider} has none such; it has {', '.join(sorted(known | PROXY_CODES))}", "code")
    return fault


def _check_answer(answer: MadeUp) -> None:
    for name, value in answer.headers.items():
        if not _HEADER_NAME.fullmatch(name.lower()) or not _HEADER_VALUE.fullmatch(value):
            raise Invalid("holds a header that HTTP can't carry", "answer.headers")
        if name.lower() in _OF_HTTP:
            raise Invalid(f"{name} is HTTP's own", "answer.headers")
    if len(answer.body) * answer.repeat > MAX_ANSWER:
        raise Invalid(f"makes the answer longer than {MAX_ANSWER >> 20} MiB", "answer.repeat")


@dataclass(slots=True)
class InForce:
    """A fault with what is left of it."""

    id: str
    rule: Fault
    since_ms: int
    hits: int = 0
    #: Requests that it could have befallen.
    met: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def befalls(self, provider: str, operation: str, address: str | None) -> bool:
        rule = self.rule
        if (
            rule.provider not in ("*", provider)
            or rule.operation != operation
            or rule.address not in (None, address)
            or (rule.fraction < 1 and self.chance.random() >= rule.fraction)
        ):
            return False
        self.met += 1
        return self.met % rule.every == 0


@dataclass(frozen=True, slots=True)
class Mishap:
    """What befalls one request: at most one fault that acts, after the latency of all others."""

    delay_ms: int = 0
    fault: InForce | None = None


NOTHING = Mishap()


class Faults:
    """The faults in force, oldest first; the first that befalls a request acts, latencies add up."""

    def __init__(self) -> None:
        self._by_id: dict[str, InForce] = {}
        self._given = 0

    def add(self, rule: Fault, now_ms: int) -> str:
        self._given += 1
        fault = InForce(f"fault-{self._given}", rule, now_ms, chance=random.Random(rule.seed))
        self._by_id[fault.id] = fault
        return fault.id

    def remove(self, fault_id: str) -> bool:
        return self._by_id.pop(fault_id, None) is not None

    def clear(self) -> int:
        count = len(self._by_id)
        self._by_id.clear()
        return count

    def __iter__(self) -> Iterator[InForce]:
        return iter(self._by_id.values())

    def befall(self, provider: str, operation: str, address: str | None) -> Mishap:
        """What happens to this request; uses up the faults that it meets."""
        if not self._by_id:
            return NOTHING
        delay_ms = 0
        acting: InForce | None = None
        for fault in tuple(self._by_id.values()):
            late = fault.rule.action == "latency"
            if (acting is not None and not late) or not fault.befalls(provider, operation, address):
                continue
            delay_ms += fault.rule.ms or 0
            acting = acting if late else fault
            fault.hits += 1
            if fault.rule.times is not None and fault.hits >= fault.rule.times:
                self.remove(fault.id)
        return Mishap(delay_ms, acting)
