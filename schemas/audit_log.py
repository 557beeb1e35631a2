"""The audit log: who changed what, when, and from where, as ``tocsin_audit_log`` has it (docs/decisions/0019)."""

from typing import Final

import msgspec
from msgspec import Struct

from schemas.decode import Reader

#: Characters of ``from`` and of ``what``: longer ones are cut.
MAX_FROM_CHARS, MAX_WHAT_CHARS = 300, 500

#: In this header of HTTP a command says who runs it, and where: ``ada@host``.
RUN_BY = "Tocsin-Run-By"


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change, entered before it was made. ``key_id``: of the API key; None: a command line, or the gateway itself.
    ``from_``: the caller's address, or the user and host. ``what`` names things by their ids: it holds no secrets, and
    nothing of users. ``at``: RFC 3339, UTC."""

    at: str
    key_id: str | None
    from_: str = msgspec.field(name="from")
    action: str
    what: str


read_audit_entry: Final = Reader[AuditEntry](AuditEntry, own=True)
encode_audit_entry: Final = msgspec.json.Encoder().encode


def audit_entry(at: str, key_id: str | None, from_: str, action: str, what: str) -> AuditEntry:
    """The entry as it can be written: on one line, with nothing that isn't text, and no longer than it may be."""
    return AuditEntry(
        at=at, key_id=key_id, from_=_clean(from_, MAX_FROM_CHARS), action=action, what=_clean(what, MAX_WHAT_CHARS)
    )


def _clean(text: str, most: int) -> str:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"
