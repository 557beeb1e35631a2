"""What must not reach a mail provider, whichever: header injection, several recipients in one."""

import re

from app.domain.outcome import Outcome
from app.ports import Address, Message
from app.providers.wire import dropped

_ADDRESS = re.compile(r"[^\s,;:<>()\"\\@\x00-\x1f\x7f]+@[^\s,;:<>()\"\\@\x00-\x1f\x7f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
_HEADER_VALUE = re.compile(r"[ -~]{1,870}")


def refusal_of(message: Message, to: Address, max_bytes: int) -> Outcome | None:
    """Why the message isn't handed over; None: it may be."""
    if not _ADDRESS.fullmatch(to.value):
        return dropped("invalid_address")
    if _CONTROL.search(message.subject or message.title or ""):
        return dropped("invalid_subject")
    for name, value in message.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return dropped("invalid_header")
    parts = (message.subject, message.text, message.body, message.html)
    if sum(len(part.encode("utf-8", "replace")) for part in parts if part) > max_bytes:
        return dropped("too_large", "too_large")
    return None
