"""What is counted at the gateway's door: requests, answers that are problems, and connections that were ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

#: Why an answer is a problem, where its status alone doesn't say it.
Limit = Literal[
    "key_rate",
    "user_rate",
    "address_rate",
    "link_rate",
    "unknown_sends",
    "unknown_cancels",
    "share",
    "room",
    # Of codes that verify an address: none is sent, or the one that was given doesn't count.
    "codes_of_user",
    "codes_to_address",
    "codes_to_country",
    "code_country",
    "code_premium_rate",
    "code_suppressed",
    "code_no_provider",
    "code_wrong",
    "code_void",
]
#: Why a connection was ended.
Ended = Literal["limit", "address_limit", "header", "blocked", "closing"]

#: The reason of every other problem, by its status.
_REASONS: Mapping[int, str] = {
    400: "malformed",
    401: "credentials",
    403: "forbidden",
    404: "unknown",
    405: "method",
    408: "body_idle",
    409: "conflict",
    413: "too_large",
    414: "request_line",
    415: "coding",
    417: "expectation",
    422: "rule",
    429: "room",
    431: "headers",
    500: "failed",
    503: "unavailable",
}
_OTHER = "other"
#: Every reason that an answer may be counted with.
REASONS: tuple[str, ...] = (*dict.fromkeys((*_REASONS.values(), *get_args(Limit), _OTHER)),)
ENDINGS: tuple[Ended, ...] = get_args(Ended)


def reason_of(status: int, limit: Limit | None) -> str:
    """The label that a problem is counted with: one of ``REASONS``."""
    return limit or _REASONS.get(status, _OTHER)


def _ignore(*_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Counting:
    """``refused``: an answer that is a problem, by status and reason. ``ended``: a connection, by why. ``answered``:
    every request, by its route's path, method, status and seconds. ``reported``: an event of a provider's webhook, by
    provider and what became of it. ``streams``: how many are open now; ``stream_ended``: one, by why."""

    refused: Callable[[int, str], None] = _ignore
    ended: Callable[[Ended], None] = _ignore
    answered: Callable[[str, str, int, float], None] = _ignore
    reported: Callable[[str, str], None] = _ignore
    streams: Callable[[int], None] = _ignore
    stream_ended: Callable[[str], None] = _ignore


#: Counts nothing.
UNCOUNTED = Counting()
