"""An audit log in memory: entries are made and encoded as they are for the topic."""

from app.store.audit_log import Wanted, _offset_in
from app.store.publisher import PublishError
from schemas.audit_log import AuditEntry, audit_entry, encode_audit_entry, read_audit_entry


class EnteredLog:
    """See ``AuditLog``. ``is_down``: nothing can be written."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.is_down = False

    async def enter(self, key_id: str | None, from_: str, action: str, what: str) -> None:
        if self.is_down:
            raise PublishError("NotEnoughReplicasError")
        entry = audit_entry("2026-11-29T10:00:00.000Z", key_id, from_, action, what)
        self.entries.append(read_audit_entry(encode_audit_entry(entry)))

    async def newest(
        self, limit: int, cursor: str | None = None, wanted: Wanted | None = None
    ) -> tuple[list[AuditEntry], str | None]:
        before = _offset_in(cursor)
        assert 1 <= limit <= 1000
        found = [entry for entry in reversed(self.entries[:before]) if wanted is None or wanted.takes(entry)]
        return found[:limit], None
