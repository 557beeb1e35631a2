"""Answers that no provider gives, and that one gives all the same: odd statuses, waits without end, headers and bodies
of every size, types and depth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: These lose a lane, as they should: a refusal of the settings, a connection that many calls share.
_SACRIFICED = frozenset(("fcm", "twilio"))


@dataclass(frozen=True, slots=True)
class Poison:
    """``answer``: the sandbox's (docs/sandbox.md). ``harsh``: only for providers whom nobody else needs."""

    name: str
    answer: Mapping[str, Any] = field(default_factory=dict)
    bytes_per_s: int | None = None
    harsh: bool = False

    def is_for(self, provider: str) -> bool:
        return not self.harsh or provider in _SACRIFICED


def _wait(status: int, text: str) -> Poison:
    return Poison(f"{status}, Retry-After {text[:20]}", {"status": status, "headers": {"Retry-After": text}})


_WRONG_TYPES = (
    '{"sid": 5, "MessageId": [], "name": {"a": 1}, "messages": 7, "status": [], "reason": {"a": 1}, "code": "21610",'
    ' "error": {"message": 5, "status": {}, "details": {"a": [1]}, "code": 1e300}, "timestamp": 1e300}'
)
_HUGE_NUMBERS = '{"code": 1000000000000000000, "timestamp": 9' + "9" * 4_000 + ', "sid": 1e999, "name": -1e999}'
_ODD_TEXTS = (
    '{"sid": "a\\u0000\\ud800b", "MessageId": "\\udfff", "name": "\\u2028\\u0007", "reason": "\\u0000", "code": "é"}'
)

POISONS = (
    _wait(429, "1" + "0" * 18),
    _wait(429, "9" * 4_000),
    _wait(503, "1e999"),
    _wait(503, "-1"),
    _wait(503, "Fri, 31 Dec 9999 23:59:59 -1200"),
    Poison("200 of nothing", {"status": 200}),
    Poison("201, null", {"status": 201, "body": "null"}),
    Poison("200, wrong types", {"status": 200, "body": _WRONG_TYPES}),
    Poison("400, wrong types", {"status": 400, "body": _WRONG_TYPES}),
    Poison("410, huge numbers", {"status": 410, "body": _HUGE_NUMBERS}),
    Poison("200, odd texts", {"status": 200, "body": _ODD_TEXTS}),
    Poison("200, deep", {"status": 200, "body": "[", "repeat": 500_000}),
    Poison("400, deep", {"status": 400, "body": '{"error":', "repeat": 100_000}),
    Poison("200, 6 MiB at once", {"status": 200, "body": "x" * 1_024, "repeat": 6 << 10}),
    Poison("200, without end", {"status": 200, "body": "x", "repeat": 1 << 20}, bytes_per_s=20),
    Poison("204 with a body", {"status": 204, "body": "{}"}),
    Poison("304", {"status": 304}),
    Poison("999", {"status": 999, "body": "<html>"}),
    Poison("no gzip", {"status": 200, "headers": {"Content-Encoding": "gzip"}, "body": "no gzip"}),
    Poison(
        "no charset", {"status": 200, "headers": {"Content-Type": "application/json; charset=klingon"}, "body": "é"}
    ),
    Poison("a header of 200 KB", {"status": 200, "headers": {"X-Long": "x" * 200_000}}, harsh=True),
    Poison("2,000 headers", {"status": 200, "headers": {f"X-{n}": "x" for n in range(2_000)}}, harsh=True),
    Poison("a detour", {"status": 301, "headers": {"Location": "http://127.0.0.1:1/"}}, harsh=True),
    *(Poison(str(status), {"status": status, "body": "{}"}, harsh=True) for status in (401, 403, 404)),
)
