"""attempts: how far each send that a channel's role was handed has come, so that none is made twice."""

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from app.domain.attempts import Tries
from app.domain.policy import Tracking
from schemas.decode import Invalid
from schemas.sends import Withdraw
from schemas.words import Status
from tables.schedule import Kind
from tables.table import Table, TableSpec

#: An ended row outlives the topic that its record could be read from again (7 days).
KEPT_MS = 8 * 24 * 3600 * 1000

#: ``withdrawn``: taken back by the router before it arrived. ``queued``: waits in line for an earlier call of its user,
#: for its address or for a slot of its provider. Ends are those of docs/records.md#lifecycle-events.
SendState = Literal["withdrawn", "queued", "held", "calling", "in_doubt", "retrying"] | Status


class Timer(Struct, frozen=True, array_like=True, gc=False):
    """The one row of ``schedule`` that belongs to the send."""

    kind: Kind
    due_ms: int


class Mailed(Struct, frozen=True, array_like=True, gc=False):
    """What a mail carries besides what is rendered: the same in all attempts, whatever policy and keys there are then.
    ``key``: the name of the key that its links were made with. ``can_opt_out``: of its category."""

    tracking: Tracking = "none"
    one_click: bool = False
    footer: bool = False
    key: str | None = None
    can_opt_out: bool = True


NOTHING_MAILED = Mailed()


class OpenSend(Struct, frozen=True, array_like=True, gc=False):
    """What a send that hasn't ended needs."""

    #: The record as the router wrote it.
    send: bytes
    #: Since when it waits to be called, Unix ms: its record's time, or the end of its latest hold.
    queued_at: int
    tries: Tries = Tries()
    #: Numbers the claims: each call made belongs to one.
    call: int = 0
    #: Whether ``sending`` was said.
    begun: bool = False
    timer: Timer | None = None
    #: When the first call was claimed, Unix ms.
    first_called_at: int | None = None
    #: Until when quiet hours hold it, Unix ms.
    until: int | None = None
    #: Since when nobody knows whether the latest call was accepted, Unix ms.
    doubted_at: int = 0
    #: Until when to look for evidence, Unix ms, and how often that was done.
    settle_until: int = 0
    asked: int = 0
    #: Something came back of it while a call was in flight: the provider's id of the message, or ``""``.
    proven: str | None = None
    #: Taken back by the router while a call was in flight.
    withdrawn: Withdraw | None = None
    #: Where its record lies in its topic: the router wrote them in the order of acceptance.
    offset: int = 0
    #: The template's version that the first call rendered; None: there was none, or no template.
    rendered: int | None = None
    #: When its latest hold by quiet hours ended here, Unix ms.
    waited_until: int | None = None
    #: Of mail: what its first call carried; None: there was none.
    mailed: Mailed | None = None


class SendRow(Struct, frozen=True, array_like=True, gc=False):
    """Once ended, nothing of the user's is left in it."""

    state: SendState
    #: Unix ms; None while it is open.
    expires: int | None = None
    open: OpenSend | None = None
    #: Of state ``withdrawn``.
    withdrawn: Withdraw | None = None


ATTEMPTS: TableSpec[SendRow] = TableSpec("attempts", SendRow, until="expires")


def send_key(send_id: str) -> bytes:
    """The 16 bytes of a send id; raises Invalid."""
    try:
        key = bytes.fromhex(send_id.replace("-", ""))
    except ValueError as error:
        raise Invalid("is not a UUID", "send_id") from error
    if len(key) != 16:
        raise Invalid("is not a UUID", "send_id")
    return key


#: So long it is remembered whose a provider's message is: longer than a send stays in doubt.
_MESSAGE_KEPT_MS = 24 * 3600 * 1000


def _message_key(provider: str, message_id: str) -> bytes:
    return blake2b(f"{provider}\0{message_id}".encode(), digest_size=16, person=b"message").digest()


class Attempts(Table[SendRow]):
    def own_message(self, provider: str, message_id: str, now: int) -> None:
        """A provider's message is known to be a send's: it is no evidence of another."""
        self.put(_message_key(provider, message_id), SendRow(state="sent", expires=now + _MESSAGE_KEPT_MS))

    def is_owned(self, provider: str, message_id: str) -> bool:
        return self.get(_message_key(provider, message_id)) is not None

    def end(self, key: bytes, status: Status, now: int) -> None:
        """Keeps only what recognises the same record again."""
        self.put(key, SendRow(state=status, expires=now + KEPT_MS))

    def withdraw_first(self, key: bytes, withdraw: Withdraw, now: int) -> None:
        """Remembers what was taken back before it came."""
        self.put(key, SendRow(state="withdrawn", expires=now + KEPT_MS, withdrawn=withdraw))
