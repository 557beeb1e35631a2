"""The last look at a send, and what follows: the claim of a call, a hold, or the end."""

from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlencode

from msgspec.structs import replace

from agents.calls import FRESH_MS, Call, Purpose
from agents.composing import compose
from agents.known import known_of, user_shown
from agents.turn import Job, Turn
from app.domain.attempts import candidates, provider_for
from app.domain.last_look import Hold, Known, Look, Over, Reach, look
from app.domain.rendering import RenderError
from app.ports import Address, Handle, Message
from schemas.instants import rfc3339
from schemas.sends import Send
from schemas.words import Provider
from tables.attempts import OpenSend, Timer
from tables.schedule import Due

#: A call may begin ``FRESH_MS`` after its claim and take its provider's time limit; nothing is heard of it later than
#: this many milliseconds after that.
_GRACE_MS = 5_000


def look_at(turn: Turn, job: Job) -> Look:
    return _look(turn, job, _known(turn, job))


def proceed(turn: Turn, job: Job) -> None:
    """Takes the last look, then claims the next call, holds the send or ends it."""
    known = _known(turn, job)
    match _look(turn, job, known):
        case Over(status, reason):
            give_up(turn, job, Over(status, reason))
        case Hold() as held:
            hold(turn, job, held)
        case _:
            assert known.reach is not None
            _claim(turn, job, known.reach)


def give_up(turn: Turn, job: Job, over: Over) -> None:
    """Ends a send that is not to be made; where an earlier call may have arrived, that is all there is to say."""
    if job.open.tries.doubted or job.state == "in_doubt":
        turn.end(job, "unknown")
    else:
        turn.end(job, over.status, over.reason)
    if over.reason == "shed":
        turn.carrier.shedding.note()


def hold(turn: Turn, job: Job, held: Hold) -> None:
    """Back to waiting, in its place: the user's holds of this channel are let go in the order of acceptance."""
    due = min(held.due, job.send.expires_at)
    user = job.send.user_id
    turn.state.schedule.at(due, Due("judge", user, user.encode()))
    if job.state != "held" or job.open.until != held.until:
        turn.tell(job, "held", "quiet_hours", detail={"until": rfc3339(held.until)})
    turn.rest(job, "held", replace(job.open, until=held.until), None)


def providers_for(turn: Turn, reach: Reach) -> tuple[Provider, ...]:
    choice = turn.catalog.policy.providers.get(turn.carrier.channel)
    return candidates(choice.order if choice else (), frozenset(turn.carrier.timeouts_ms), reach.platform)


def call_of(turn: Turn, job: Job, reach: Reach, message: Message, purpose: Purpose, timeout_ms: int) -> Call:
    """The call of the job's current claim."""
    send, tries = job.send, job.open.tries
    assert tries.provider is not None
    handle = Handle(
        send_id=send.send_id,
        notification_id=send.notification_id,
        attempt=tries.used + 1,
        priority=send.priority,
        category=send.category,
        expires_at_ms=send.expires_at,
        collapse_id=sha256(send.collapse_key.encode()).hexdigest() if send.collapse_key else send.send_id,
        first_called_at_ms=job.open.first_called_at,
        callback_url=_callback_url(turn, send, tries.provider, tries.used + 1),
    )
    to = Address(send.channel, reach.value, reach.platform, reach.app_id)
    return Call(
        purpose,
        job.key,
        job.open.call,
        send.user_id,
        tries.provider,
        message,
        to,
        handle,
        claimed_at=turn.now,
        timeout_ms=timeout_ms,
        known_at=turn.out.known_at,
    )


def _known(turn: Turn, job: Job) -> Known:
    return known_of(turn.state.knowledge, job.send, turn.catalog.policy)


def _look(turn: Turn, job: Job, known: Known) -> Look:
    withdrawn = job.open.withdrawn
    if withdrawn is not None:
        return Over(withdrawn.status, withdrawn.reason)
    queued_at = None if job.open.begun else job.open.queued_at
    return look(job.send, known, turn.catalog.policy, turn.now, queued_at)


def _claim(turn: Turn, job: Job, reach: Reach) -> None:
    provider = provider_for(job.open.tries, providers_for(turn, reach))
    if provider is None:
        give_up(turn, job, Over("failed", "no_provider"))
        return
    if _may_be_shed(job) and turn.carrier.shedding.take(provider):
        give_up(turn, job, Over("suppressed", "shed"))
        return
    message = compose_for(turn, job.send, reach)
    if isinstance(message, RenderError):
        give_up(turn, job, Over("failed", "bad_template"))
        return
    claimed = Job(job.key, job.send, "calling", _claimed(turn, job, provider))
    timeout_ms = turn.carrier.timeouts_ms[provider]
    turn.rest(job, "calling", claimed.open, Timer("deadline", turn.now + FRESH_MS + timeout_ms + _GRACE_MS))
    if job.state != "calling":  # else it was claimed and said already, but its look was no longer fresh
        turn.tell(claimed, "sending")
    turn.out.call(call_of(turn, claimed, reach, message, "send", timeout_ms))


def _may_be_shed(job: Job) -> bool:
    """Low, and as far as anybody knows with no provider yet."""
    tries = job.open.tries
    return job.send.priority == "low" and not tries.used and not tries.doubted


def _claimed(turn: Turn, job: Job, provider: Provider) -> OpenSend:
    return replace(
        job.open,
        tries=replace(job.open.tries, provider=provider),
        call=job.open.call + 1,
        begun=True,
        first_called_at=job.open.first_called_at or turn.now,
        until=None,
    )


def compose_for(turn: Turn, send: Send, reach: Reach) -> Message | RenderError:
    user = user_shown(turn.state.knowledge, send.user_id)
    return compose(send, turn.catalog, user, reach.locale, _mail_headers(turn, send))


def _mail_headers(turn: Turn, send: Send) -> Mapping[str, str]:
    """One click unsubscribes (RFC 8058), where the policy says so for the category."""
    category = turn.catalog.policy.categories.get(send.category)
    if send.channel != "email" or category is None or category.unsubscribe != "one_click":
        return {}
    url = turn.carrier.unsubscribe_url(send) if turn.carrier.unsubscribe_url else None
    if url is None:
        return {}
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _callback_url(turn: Turn, send: Send, provider: Provider, attempt: int) -> str | None:
    if turn.carrier.public_url is None:
        return None
    named = urlencode({"send_id": send.send_id, "user_id": send.user_id, "attempt": attempt})
    return f"{turn.carrier.public_url.rstrip('/')}/v1/webhooks/{provider}?{named}"
