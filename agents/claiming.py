"""The last look at a send, and what follows: the claim of a call that is about to begin, a wait, or the end.

A call is claimed when it may begin: when no earlier call of its line is in flight, its address answers, and its
provider has a slot and a token. Until then it waits in the table, in order, and takes no room
(docs/decisions/0011-dispatch-when-the-call-begins.md).
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import replace

from agents.calls import FRESH_MS, Call, Purpose
from agents.composing import compose, template_of, with_code
from agents.known import known_of, user_shown
from agents.turn import Job, Turn
from app.domain.attempts import Again, Tries, after, candidates, provider_for
from app.domain.codes import code_of
from app.domain.last_look import Hold, Known, Look, Over, Reach, look
from app.domain.outcome import LANE_FULL, LANE_RESTS, Outcome
from app.domain.rendering import RenderError
from app.ports import Address, Handle, Message
from schemas.instants import rfc3339
from schemas.sends import Send
from schemas.words import Provider
from tables.attempts import OpenSend, Timer
from tables.pauses import Pause
from tables.schedule import Due

#: A call may begin ``FRESH_MS`` after its claim and take its provider's time limit; nothing is heard of it later than
#: this many milliseconds after that.
_GRACE_MS = 5_000
#: A call that takes longer no longer holds up its line, of which so many may be under way.
SLOW_MS, SLOW_AT_ONCE = 2_000, 3
#: How often a provider's queue is looked at while nothing else does.
DRAIN_MS = 100
#: The lines of which a partition remembers when they are looked at next.
_WATCHES = 10_000


def look_at(turn: Turn, job: Job) -> Look:
    return _look(turn, job, _known(turn, job))


def proceed(turn: Turn, job: Job) -> None:
    """Takes the last look, then claims the next call or has it wait for its turn, holds the send or ends it."""
    known = _known(turn, job)
    match _look(turn, job, known):
        case Over() as over:
            give_up(turn, job, over)
        case Hold() as held:
            hold(turn, job, held)
        case _:
            assert known.reach is not None
            _begin(turn, job, known.reach)


def give_up(turn: Turn, job: Job, over: Over) -> None:
    """Ends a send that is not to be made; where an earlier call may have arrived, that is all there is to say."""
    if job.open.tries.doubted or job.state == "in_doubt":
        turn.end(job, "unknown")
    else:
        turn.end(job, over.status, over.reason, detail=trail_of(over))
    if over.reason == "shed":
        turn.carrier.shedding.note()


def trail_of(seen: Over | Hold) -> dict[str, Any] | None:
    """What ``why`` shows of a last look that ended or held the send."""
    return {"trail": seen.trail} if seen.trail else None


def hold(turn: Turn, job: Job, held: Hold) -> None:
    """Back to waiting, in its place: the user's holds of this channel are let go in the order of acceptance."""
    due = min(held.due, job.send.expires_at)
    user = job.send.user_id
    turn.state.schedule.at(due, Due("judge", user, user.encode()))
    if job.state != "held" or job.open.until != held.until:
        turn.tell(job, "held", "quiet_hours", detail={"until": rfc3339(held.until), **(trail_of(held) or {})})
    turn.rest(job, "held", replace(job.open, until=held.until), None)


def providers_for(turn: Turn, reach: Reach) -> tuple[Provider, ...]:
    choice = turn.catalog.policy.providers.get(turn.carrier.channel)
    return candidates(choice.order if choice else (), frozenset(turn.carrier.timeouts_ms), reach.platform)


def call_of(
    turn: Turn, job: Job, reach: Reach, message: Message, purpose: Purpose, timeout_ms: int, *, suspect: bool = False
) -> Call:
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
        fresh_since=turn.out.fresh_since,
        suspect=suspect,
    )


def _known(turn: Turn, job: Job) -> Known:
    return known_of(turn.state.knowledge, job.send, turn.catalog.policy, turn.carrier.keys.secret)


def _look(turn: Turn, job: Job, known: Known) -> Look:
    withdrawn = job.open.withdrawn
    if withdrawn is not None:
        return Over(withdrawn.status, withdrawn.reason)
    queued_at = None if job.open.begun else job.open.queued_at
    return look(job.send, known, turn.catalog.policy, turn.now, queued_at)


def _begin(turn: Turn, job: Job, reach: Reach) -> None:
    able = providers_for(turn, reach)
    tries = job.open.tries
    while (provider := provider_for(tries, able)) is not None:
        if _may_be_shed(job) and turn.carrier.shedding.take(provider):
            give_up(turn, job, Over("suppressed", "shed"))
            return
        tries = replace(tries, provider=provider)
        if not _has_its_turn(turn, job, reach):
            wait_in_line(turn, job, tries)
            return
        if (until := _rests_until(turn, job, reach)) is not None:
            _wait_for_address(turn, job, tries, until)
            return
        if isinstance(message := compose_for(turn, job, reach), RenderError):
            give_up(turn, job, Over("failed", "bad_template"))
            return
        claim = (job.key, job.open.call + 1)
        refusal = turn.carrier.slots.take(provider, claim, urgent=job.urgent)
        if refusal is None:
            _claim(turn, job, tries, reach, message)
            return
        if refusal.code != LANE_RESTS:
            _wait_for_slot(turn, job, tries, provider)
            return
        rule = turn.catalog.policy.retries[turn.carrier.channel]
        again = after(refusal, tries, rule, able, job.send.send_id, turn.now)
        assert isinstance(again, Again)
        if again.outage:
            try_again(turn, job, again, refusal)
            return
        tries = again.tries  # the next in order may be called at once
    give_up(turn, job, Over("failed", "no_provider"))


def _claim(turn: Turn, job: Job, tries: Tries, reach: Reach, message: Message) -> None:
    assert tries.provider is not None
    template = template_of(job.send, turn.catalog, job.open.rendered)
    version = job.send.template_version if template is None else template.version
    send = job.send if version == job.send.template_version else replace(job.send, template_version=version)
    claimed = Job(job.key, send, "calling", _claimed(turn, job, tries, None if template is None else version))
    timeout_ms = turn.carrier.timeouts_ms[tries.provider]
    if flights_of(turn, job.line, besides=job.key):
        turn.carrier.silences.watch(reach.value)  # an earlier call takes long
    suspect = turn.carrier.silences.is_suspect(reach.value)
    turn.carrier.silences.begin(reach.value, turn.now)
    turn.rest(job, "calling", claimed.open, Timer("deadline", turn.now + FRESH_MS + timeout_ms + _GRACE_MS))
    if job.state != "calling":  # else it was claimed and said already, but its look was no longer fresh
        turn.tell(claimed, "sending")
    turn.out.call(call_of(turn, claimed, reach, message, "send", timeout_ms, suspect=suspect))


def try_again(turn: Turn, job: Job, again: Again, outcome: Outcome) -> None:
    """Later, by the send's own timer."""
    if job.open.withdrawn is not None:
        give_up(turn, job, Over(job.open.withdrawn.status, job.open.withdrawn.reason))
        return
    if turn.state.knowledge.erased(job.send.user_id):
        give_up(turn, job, Over("suppressed", "erased"))
        return
    if again.outage:
        turn.tell(job, "held", "provider_outage", detail={"until": rfc3339(again.at)})
    else:
        code = {} if outcome.code is None else {"error": outcome.code}
        turn.tell(job, "retrying", outcome.code or outcome.kind, detail={"retry_at": rfc3339(again.at), **code})
    timer = Timer("retry", min(again.at, job.send.expires_at))
    turn.rest(job, "held" if again.outage else "retrying", replace(job.open, tries=again.tries), timer)


# --- waiting for one's turn ---------------------------------------------------------------------------------------


def wait_in_line(turn: Turn, job: Job, tries: Tries) -> None:
    """For an earlier call of its line."""
    if job.state == "calling":  # it was said to be about to call
        _put_off(turn, job, tries)
        return
    _queue(turn, job, tries, job.open.until)
    watch_line(turn, job.line, job.send.user_id)


def _wait_for_slot(turn: Turn, job: Job, tries: Tries, provider: Provider) -> None:
    if job.state == "calling":
        _put_off(turn, job, tries)
        return
    _queue(turn, job, tries, job.open.until, slot_of=provider)
    place = job.place_for(provider)
    if turn.state.pauses.get(place) is None:
        turn.state.pauses.put(place, Pause(job.open.begun, job.send.notification_id, job.send.collapse_key))
    watch(turn, provider.encode(), Due("drain", "", provider.encode()), turn.now + DRAIN_MS)


def _wait_for_address(turn: Turn, job: Job, tries: Tries, until: int) -> None:
    """At the head of its line, which waits with it; attempts aren't used up."""
    if job.state == "calling":
        _put_off(turn, job, tries)
        return
    until = min(until, job.send.expires_at)
    if job.open.until != until:
        turn.tell(job, "held", "provider_outage", detail={"until": rfc3339(until)})
    _queue(turn, job, tries, until)
    turn.state.schedule.at(until, Due("dispatch", job.send.user_id, job.line))


def _put_off(turn: Turn, job: Job, tries: Tries) -> None:
    refusal = Outcome("throttle", code=LANE_FULL)
    rule = turn.catalog.policy.retries[turn.carrier.channel]
    again = after(refusal, tries, rule, (), job.send.send_id, turn.now)
    assert isinstance(again, Again)
    try_again(turn, job, again, refusal)


def _queue(turn: Turn, job: Job, tries: Tries, until: int | None, slot_of: Provider | None = None) -> None:
    before = job.open.tries.provider
    if job.state == "queued" and before is not None and before != slot_of:
        turn.state.pauses.delete(job.place_for(before))
    timer = Timer("expire", max(_over_at(turn, job), turn.now + 1))
    queued = replace(job.open, tries=tries, until=until, timer=timer)
    if job.state != "queued" or queued != job.open:
        turn.rest(job, "queued", queued, timer)


def _over_at(turn: Turn, job: Job) -> int:
    """When the send would be over while it waits."""
    shed_ms = turn.catalog.policy.shed_ms(job.send.priority)
    if shed_ms is None or job.open.begun or job.urgent:
        return job.send.expires_at
    return min(job.send.expires_at, job.open.queued_at + shed_ms)


def _has_its_turn(turn: Turn, job: Job, reach: Reach) -> bool:
    """Whether none of its line goes before it. An address that was silent is called one call after the other."""
    first = turn.state.pauses.first_in(job.line)
    if first is not None and first < job.place:
        return False
    if turn.carrier.silences.is_suspect(reach.value) and flights_of(turn, job.line, besides=job.key):
        return False
    return may_begin(turn, job.line, besides=job.key)


def may_begin(turn: Turn, line: bytes, besides: bytes = b"") -> bool:
    """One call of a line at a time. One that takes long no longer counts: a few of them may be under way at once.

    ``besides``: the send that asks, whose own call may have been claimed before.
    """
    calls = flights_of(turn, line, besides=besides)
    return len(calls) < SLOW_AT_ONCE and all(turn.now - at >= SLOW_MS for at in calls)


def flights_of(turn: Turn, line: bytes, besides: bytes = b"") -> list[int]:
    """When the calls were claimed that this process has under way for the line."""
    flights = turn.state.flights.get(line)
    if not flights:
        return []
    rows = ((turn.state.attempts.get(key), at) for key, at in flights.items() if key != besides)
    return [at for row, at in rows if row is not None and row.state == "calling"]


def watch_line(turn: Turn, line: bytes, user_id: str) -> None:
    """Sees to it that the line goes on while its calls take long, and after a crash."""
    youngest = max(flights_of(turn, line), default=turn.now)
    due = youngest + SLOW_MS if youngest + SLOW_MS > turn.now else turn.now + SLOW_MS
    watch(turn, line, Due("dispatch", user_id, line), due)


def watch(turn: Turn, name: bytes, due: Due, at: int) -> None:
    """Schedules a look at a line or a provider's queue, unless there is one already."""
    watches = turn.state.watches
    row = watches.get(name)
    if len(watches) >= _WATCHES:
        watches.clear()  # a hint only: at worst a line is looked at twice
    if row is None or turn.state.schedule.get(row) is None:
        watches[name] = turn.state.schedule.at(at, due)


def _rests_until(turn: Turn, job: Job, reach: Reach) -> int | None:
    """Until when the address is left alone. What is critical tries it."""
    return None if job.urgent else turn.carrier.silences.rests_until(reach.value, turn.now)


def _may_be_shed(job: Job) -> bool:
    """Low, and as far as anybody knows with no provider yet."""
    tries = job.open.tries
    return job.send.priority == "low" and not tries.used and not tries.doubted


def _claimed(turn: Turn, job: Job, tries: Tries, rendered: int | None) -> OpenSend:
    return replace(
        job.open,
        tries=tries,
        call=job.open.call + 1,
        begun=True,
        first_called_at=job.open.first_called_at or turn.now,
        until=None,
        rendered=rendered,
    )


def compose_for(turn: Turn, job: Job, reach: Reach) -> Message | RenderError:
    """All attempts render the version that was in force at the first call."""
    send = job.send
    if send.verifies is not None:
        code = code_of(turn.carrier.keys.secret, send.user_id, send.channel, reach.value, send.notification_id)
        send = with_code(send, code)
    user = user_shown(turn.state.knowledge, send.user_id)
    template = template_of(send, turn.catalog, job.open.rendered)
    return compose(send, template, turn.catalog, user, reach.locale, _mail_headers(turn, send))


def _mail_headers(turn: Turn, send: Send) -> Mapping[str, str]:
    """One click unsubscribes (RFC 8058), where the policy says so for the category."""
    category = turn.catalog.policy.categories.get(send.category)
    if send.channel != "email" or send.verifies is not None or category is None or category.unsubscribe != "one_click":
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
