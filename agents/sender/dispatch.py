"""The last look at a send, and what follows: the claim of a call that is about to begin, a wait, or the end.

A call is claimed when it may begin: when no earlier call of its line is in flight, its address answers, and its
provider has a slot and a token. Until then it waits in the table, in order, and takes no room
(docs/decisions/0011-dispatch-when-the-call-begins.md).
"""

from dataclasses import replace as replaced
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import replace

from agents.sender.calls import FRESH_MS, Call, Purpose
from agents.sender.context import Delivery, SenderContext
from agents.shared.compose import Around, compose, template_of, with_code
from agents.shared.mail import lacks_link, mailed_of
from agents.shared.recipients import known_of, user_shown
from app.domain.attempts import Again, Tries, after, behind, candidates, following, provider_for
from app.domain.codes import code_of
from app.domain.last_look import Hold, Known, Look, Over, Reach, look
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, WARMING_UP, Outcome, answer_of
from app.domain.policy import SmsLimit
from app.domain.rendering import RenderError
from app.domain.sms import segments, shortened
from app.ports import Address, Handle, Message
from schemas.instants import rfc3339
from schemas.sends import Send
from schemas.words import Provider
from tables.attempts import Mailed, OpenSend, Timer
from tables.pauses import Pause, is_held
from tables.schedule import Due, due_ms_of

#: A call may begin ``FRESH_MS`` after its claim and take its provider's time limit; nothing is heard of it later than
#: this many milliseconds after that.
_GRACE_MS = 5_000
#: A call that takes longer no longer holds up its line, of which so many may be under way.
SLOW_MS, SLOW_AT_ONCE = 2_000, 3
#: How often a provider's queue is looked at while nothing else does: at most, and at least (that of a paused one, and
#: while its rate lets nothing begin).
DRAIN_MS, PAUSED_DRAIN_MS = 100, 1_000
#: The lines of which a partition remembers when they are looked at next.
_WATCHES = 10_000


def look_at(context: SenderContext, delivery: Delivery) -> Look:
    return _look(context, delivery, _known(context, delivery))


def proceed(context: SenderContext, delivery: Delivery) -> None:
    """Takes the last look, then claims the next call or has it wait for its turn, holds the send or ends it."""
    known = _known(context, delivery)
    match _look(context, delivery, known):
        case Over() as over:
            give_up(context, delivery, over)
        case Hold() as held:
            hold(context, delivery, held)
        case _:
            assert known.reach is not None
            _begin(context, delivery, known.reach)


def give_up(context: SenderContext, delivery: Delivery, over: Over) -> None:
    """Ends a send that is not to be made; where an earlier call may have arrived, that is all there is to say."""
    if delivery.open.tries.doubted or delivery.state == "in_doubt":
        context.end(delivery, "unknown")
    else:
        context.end(delivery, over.status, over.reason, detail=trail_of(over))
    if over.reason == "shed":
        context.channel_config.shedding.note()


def trail_of(seen: Over | Hold) -> dict[str, Any] | None:
    """What ``why`` shows of a last look that ended or held the send."""
    return {"trail": seen.trail} if seen.trail else None


def hold(context: SenderContext, delivery: Delivery, held: Hold) -> None:
    """Back to waiting, in its place: the user's holds of this channel are let go in the order of acceptance."""
    due = min(held.due, delivery.send.expires_at)
    user = delivery.send.user_id
    context.state.schedule.at(due, Due("judge", user, user.encode()))
    if delivery.state != "held" or delivery.open.until != held.until:
        context.emit(delivery, "held", "quiet_hours", detail={"until": rfc3339(held.until), **(trail_of(held) or {})})
    context.rest(delivery, "held", replace(delivery.open, until=held.until), None)


def providers_for(context: SenderContext, send: Send, reach: Reach) -> tuple[Provider, ...]:
    choice = context.catalog.policy.providers.get(context.channel_config.channel)
    order = choice.order if choice else ()
    if send.after is not None:
        order = behind(order, send.after)
    return candidates(order, frozenset(context.channel_config.timeouts_ms), reach.platform)


def takes_over_after_ms(context: SenderContext, send: Send) -> int:
    """How long a circuit has to be open before another provider takes the send over; what is critical doesn't wait."""
    if send.priority == "critical":
        return 0
    return context.catalog.policy.takes_over_after_ms(send.category, send.channel)


def waits_for_recovery(context: SenderContext, delivery: Delivery) -> bool:
    """Whether an open circuit holds it already, and it is tried before its own time, to see whether that is over."""
    timer = delivery.open.timer
    return delivery.held_until_recovery is not None and timer is not None and timer.due_ms > context.now


def call_of(
    context: SenderContext,
    delivery: Delivery,
    reach: Reach,
    message: Message,
    purpose: Purpose,
    timeout_ms: int,
    *,
    suspect: bool = False,
) -> Call:
    """The call of the job's current claim."""
    send, tries = delivery.send, delivery.open.tries
    assert tries.provider is not None
    handle = Handle(
        send_id=send.send_id,
        notification_id=send.notification_id,
        attempt=tries.used + 1,
        priority=send.priority,
        category=send.category,
        expires_at_ms=send.expires_at,
        collapse_id=sha256(send.collapse_key.encode()).hexdigest() if send.collapse_key else send.send_id,
        first_called_at_ms=delivery.open.first_called_at,
        callback_url=_callback_url(context, send, tries.provider, tries.used + 1),
    )
    to = Address(send.channel, reach.value, reach.platform, reach.app_id)
    return Call(
        purpose,
        delivery.key,
        delivery.open.call,
        send.user_id,
        tries.provider,
        message,
        to,
        handle,
        claimed_at=context.now,
        timeout_ms=timeout_ms,
        known_at=context.out.known_at,
        fresh_since=context.out.fresh_since,
        suspect=suspect,
        traced=send.trace is not None,
    )


def _known(context: SenderContext, delivery: Delivery) -> Known:
    return known_of(context.state.knowledge, delivery.send, context.catalog.policy, context.channel_config.keys.secret)


def _look(context: SenderContext, delivery: Delivery, known: Known) -> Look:
    withdrawn = delivery.open.withdrawn
    if withdrawn is not None:
        return Over(withdrawn.status, withdrawn.reason)
    queued_at = None if delivery.open.begun else delivery.open.queued_at
    return look(delivery.send, known, context.catalog.policy, context.now, queued_at)


def _begin(context: SenderContext, delivery: Delivery, reach: Reach) -> None:
    if lacks_link(delivery.send, context.catalog.policy, context.channel_config.links):
        give_up(context, delivery, Over("failed", "no_provider"))
        return
    able = providers_for(context, delivery.send, reach)
    tries, called = delivery.open.tries, [provider for provider in able if provider not in context.paused]
    while (provider := provider_for(tries, called)) is not None:
        if _may_be_shed(delivery) and context.channel_config.shedding.take(provider):
            give_up(context, delivery, Over("suppressed", "shed"))
            return
        tries = replace(tries, provider=provider)
        if not _has_its_turn(context, delivery, reach):
            wait_in_line(context, delivery, tries)
            return
        if (until := _rests_until(context, delivery, reach)) is not None:
            _wait_for_address(context, delivery, tries, until)
            return
        if (until := _device_waits_until(context, delivery, provider, reach)) is not None:
            _wait_for_device(context, delivery, tries, until)
            return
        if isinstance(message := compose_for(context, delivery, reach), RenderError):
            give_up(context, delivery, Over("failed", "bad_template"))
            return
        parts = segments(message.body or "") if context.channel_config.channel == "sms" else None
        limit = _sms_limit(context)
        if parts is not None and limit is not None and parts > limit.max_segments:
            give_up(context, delivery, Over("failed", "too_large"))
            return
        claim = (delivery.key, delivery.open.call + 1)
        # What may have arrived is in the plan already, and nobody else may carry it: the others would wait behind it.
        refusal = context.channel_config.slots.take(
            provider, claim, urgent=delivery.urgent, bulk=delivery.bulk, planned=not tries.doubted
        )
        if refusal is None:
            _claim(context, delivery, tries, reach, message, parts)
            return
        is_claimed = delivery.state == "calling"  # it was said who is called, so it is put off instead
        if refusal.code == WARMING_UP and not is_claimed and (other := following(tries, called)) is not None:
            tries = replace(tries, provider=other)
            continue
        if refusal.code != CIRCUIT_OPEN:
            _wait_for_slot(context, delivery, tries, provider, refusal.retry_after_ms or 0)
            return
        rule = context.catalog.policy.retries[context.channel_config.channel]
        takeover_ms = takes_over_after_ms(context, delivery.send)
        again = after(refusal, tries, rule, able, delivery.send.send_id, context.now, context.paused, takeover_ms)
        assert isinstance(again, Again)
        if again.outage and waits_for_recovery(context, delivery):
            return
        if again.outage:
            try_again(context, delivery, again, refusal)
            return
        tries = again.tries  # the next in order may be called at once
    if (provider := provider_for(tries, able)) is not None:
        _wait_for_resumption(context, delivery, tries, provider)
    else:
        give_up(context, delivery, Over("failed", "no_provider"))


def _claim(
    context: SenderContext, delivery: Delivery, tries: Tries, reach: Reach, message: Message, parts: int | None
) -> None:
    """``parts``: how many SMS a text takes, as which it is paid."""
    assert tries.provider is not None
    template = template_of(delivery.send, context.catalog, delivery.open.rendered)
    version = delivery.send.template_version if template is None else template.version
    send = (
        delivery.send if version == delivery.send.template_version else replace(delivery.send, template_version=version)
    )
    claimed = Delivery(
        delivery.key, send, "calling", _claimed(context, delivery, tries, None if template is None else version)
    )
    timeout_ms = context.channel_config.timeouts_ms[tries.provider]
    if flights_of(context, delivery.line, besides=delivery.key):
        context.channel_config.silences.watch(reach.value)  # an earlier call takes long
    suspect = context.channel_config.silences.is_suspect(reach.value)
    context.channel_config.silences.begin(reach.value, context.now)
    if context.channel_config.channel == "push":
        context.channel_config.devices.begin(tries.provider, reach.value, context.now)
    context.rest(delivery, "calling", claimed.open, Timer("deadline", context.now + FRESH_MS + timeout_ms + _GRACE_MS))
    if delivery.state != "calling":  # else it was claimed and said already, but its look was no longer fresh
        context.emit(claimed, "sending", detail=None if parts is None else {"segments": parts})
    context.out.call(call_of(context, claimed, reach, message, "send", timeout_ms, suspect=suspect))


def try_again(context: SenderContext, delivery: Delivery, again: Again, outcome: Outcome) -> None:
    """Later, by the send's own timer."""
    if delivery.open.withdrawn is not None:
        give_up(context, delivery, Over(delivery.open.withdrawn.status, delivery.open.withdrawn.reason))
        return
    if context.state.knowledge.erased(delivery.send.user_id):
        give_up(context, delivery, Over("suppressed", "erased"))
        return
    if again.outage:
        context.emit(delivery, "held", "provider_outage", detail={"until": rfc3339(again.at)})
    else:
        code = {} if outcome.code is None else {"error": outcome.code}
        detail = {"retry_at": rfc3339(again.at), **code, "trail": [("answer", "wait", answer_of(outcome))]}
        context.emit(delivery, "retrying", outcome.code or outcome.kind, detail=detail)
    timer = Timer("retry", min(again.at, delivery.send.expires_at))
    open_send = replace(delivery.open, tries=again.tries)
    context.rest(delivery, "held" if again.outage else "retrying", open_send, timer)
    provider = again.tries.provider
    if again.outage and provider is not None and not again.tries.doubted:
        context.state.pauses.put(delivery.place_until_recovery(provider), _waiting(delivery))
        watch_queue(context, provider)


# --- waiting for one's turn ---------------------------------------------------------------------------------------


def wait_in_line(context: SenderContext, delivery: Delivery, tries: Tries) -> None:
    """For an earlier call of its line."""
    if delivery.state == "calling":  # it was said to be about to call
        _put_off(context, delivery, tries)
        return
    _queue(context, delivery, tries, delivery.open.until)
    watch_line(context, delivery.line, delivery.send.user_id)


def _wait_for_slot(context: SenderContext, delivery: Delivery, tries: Tries, provider: Provider, wait_ms: int) -> None:
    if delivery.state == "calling":
        _put_off(context, delivery, tries)
        return
    _queue(context, delivery, tries, delivery.open.until, slot_of=provider)
    place = delivery.place_for(provider)
    if context.state.pauses.get(place) is None:
        context.state.pauses.put(place, _waiting(delivery))
    watch_queue(context, provider, wait_ms)


def _wait_for_resumption(context: SenderContext, delivery: Delivery, tries: Tries, provider: Provider) -> None:
    """All that could carry it are paused: held, and not tried again before one of them is resumed, so that a long pause
    costs no more than a short one. It still expires."""
    tries = replace(tries, provider=provider)
    timer = Timer("expire", max(_over_at(context, delivery), context.now + 1))
    held = replace(delivery.open, tries=tries, until=None, timer=timer)
    is_news = delivery.held_by != provider
    if is_news or held != delivery.open:
        context.rest(delivery, "held", held, timer)
        context.state.pauses.put(delivery.place_until_resumed(provider), _waiting(delivery))
    if is_news:
        trail = [("provider", "wait", "paused", provider, timer.due_ms, context.paused[provider])]
        context.emit(delivery, "held", "provider_outage", detail={"until": rfc3339(timer.due_ms), "trail": trail})
    watch_queue(context, provider)


def watch_queue(context: SenderContext, provider: Provider, wait_ms: int = 0) -> None:
    """Sees to it that those that wait for the provider are looked at again, if there are any. ``wait_ms``: until its
    rate lets the first of them begin."""
    first = context.state.pauses.first_for(provider)
    if first is not None:
        is_parked = provider in context.paused or is_held(first)
        wait_ms = PAUSED_DRAIN_MS if is_parked else min(max(wait_ms, DRAIN_MS), PAUSED_DRAIN_MS)
        watch(context, provider.encode(), Due("drain", "", provider.encode()), context.now + wait_ms)


def _waiting(delivery: Delivery) -> Pause:
    return Pause(delivery.open.begun, delivery.send.notification_id, delivery.send.collapse_key)


def _wait_for_address(context: SenderContext, delivery: Delivery, tries: Tries, until: int) -> None:
    """At the head of its line, which waits with it; attempts aren't used up."""
    if delivery.state == "calling":
        _put_off(context, delivery, tries)
        return
    until = min(until, delivery.send.expires_at)
    if delivery.open.until != until:
        context.emit(delivery, "held", "provider_outage", detail={"until": rfc3339(until)})
    _queue(context, delivery, tries, until)
    context.state.schedule.at(until, Due("dispatch", delivery.send.user_id, delivery.line))


def _wait_for_device(context: SenderContext, delivery: Delivery, tries: Tries, until: int) -> None:
    """At the head of its line: the device gets no more than it may for now."""
    if delivery.state == "calling":
        _put_off(context, delivery, tries)
        return
    _queue(context, delivery, tries, delivery.open.until)
    due = Due("dispatch", delivery.send.user_id, delivery.line)
    watch(context, delivery.line, due, min(until, delivery.send.expires_at))


def _put_off(context: SenderContext, delivery: Delivery, tries: Tries) -> None:
    refusal = Outcome("throttle", code=AT_CAPACITY)
    rule = context.catalog.policy.retries[context.channel_config.channel]
    again = after(refusal, tries, rule, (), delivery.send.send_id, context.now)
    assert isinstance(again, Again)
    try_again(context, delivery, again, refusal)


def _queue(
    context: SenderContext, delivery: Delivery, tries: Tries, until: int | None, slot_of: Provider | None = None
) -> None:
    before = delivery.open.tries.provider
    if delivery.state == "queued" and before is not None and before != slot_of:
        context.state.pauses.delete(delivery.place_for(before))
    timer = Timer("expire", max(_over_at(context, delivery), context.now + 1))
    queued = replace(delivery.open, tries=tries, until=until, timer=timer)
    if delivery.state != "queued" or queued != delivery.open:
        context.rest(delivery, "queued", queued, timer)


def _over_at(context: SenderContext, delivery: Delivery) -> int:
    """When the send would be over while it waits."""
    shed_ms = context.catalog.policy.shed_ms(delivery.send.priority)
    if shed_ms is None or delivery.open.begun or delivery.urgent:
        return delivery.send.expires_at
    return min(delivery.send.expires_at, delivery.open.queued_at + shed_ms)


def _has_its_turn(context: SenderContext, delivery: Delivery, reach: Reach) -> bool:
    """Whether none of its line goes before it. An address that was silent is called one call after the other."""
    first = context.state.pauses.first_in(delivery.line)
    if first is not None and first < delivery.place:
        return False
    if context.channel_config.silences.is_suspect(reach.value) and flights_of(
        context, delivery.line, besides=delivery.key
    ):
        return False
    return may_begin(context, delivery.line, besides=delivery.key)


def may_begin(context: SenderContext, line: bytes, besides: bytes = b"") -> bool:
    """One call of a line at a time. One that takes long no longer counts: a few of them may be under way at once.

    ``besides``: the send that asks, whose own call may have been claimed before.
    """
    calls = flights_of(context, line, besides=besides)
    return len(calls) < SLOW_AT_ONCE and all(context.now - at >= SLOW_MS for at in calls)


def flights_of(context: SenderContext, line: bytes, besides: bytes = b"") -> list[int]:
    """When the calls were claimed that this process has under way for the line."""
    flights = context.state.flights.get(line)
    if not flights:
        return []
    rows = ((context.state.attempts.get(key), at) for key, at in flights.items() if key != besides)
    return [at for row, at in rows if row is not None and row.state == "calling"]


def watch_line(context: SenderContext, line: bytes, user_id: str) -> None:
    """Sees to it that the line goes on while its calls take long, and after a crash."""
    youngest = max(flights_of(context, line), default=context.now)
    due = youngest + SLOW_MS if youngest + SLOW_MS > context.now else context.now + SLOW_MS
    watch(context, line, Due("dispatch", user_id, line), due)


def watch(context: SenderContext, name: bytes, due: Due, at: int) -> None:
    """Schedules a look at a line or a provider's queue, unless there is one already, and no later."""
    watches = context.state.watches
    row = watches.get(name)
    if len(watches) >= _WATCHES:
        watches.clear()  # a hint only: at worst a line is looked at twice
    if row is None or context.state.schedule.get(row) is None:
        watches[name] = context.state.schedule.at(at, due)
    elif at < due_ms_of(row):
        context.state.schedule.delete(row)
        watches[name] = context.state.schedule.at(at, due)


def _rests_until(context: SenderContext, delivery: Delivery, reach: Reach) -> int | None:
    """Until when the address is left alone. What is critical tries it."""
    return None if delivery.urgent else context.channel_config.silences.rests_until(reach.value, context.now)


def _device_waits_until(context: SenderContext, delivery: Delivery, provider: Provider, reach: Reach) -> int | None:
    """Until when its device is sent nothing more. What is critical goes all the same."""
    if context.channel_config.channel != "push" or delivery.urgent:
        return None
    return context.channel_config.devices.waits_until(provider, reach.value, context.now)


def _may_be_shed(delivery: Delivery) -> bool:
    """Low, and as far as anybody knows with no provider yet."""
    tries = delivery.open.tries
    return delivery.send.priority == "low" and not tries.used and not tries.doubted


def _claimed(context: SenderContext, delivery: Delivery, tries: Tries, rendered: int | None) -> OpenSend:
    return replace(
        delivery.open,
        tries=tries,
        call=delivery.open.call + 1,
        begun=True,
        first_called_at=delivery.open.first_called_at or context.now,
        until=None,
        rendered=rendered,
        mailed=delivery.open.mailed or (_mailed(context, delivery.send) if delivery.send.channel == "email" else None),
    )


def compose_for(context: SenderContext, delivery: Delivery, reach: Reach) -> Message | RenderError:
    """All attempts render the version that was in force at the first call."""
    send = delivery.send
    if send.verifies is not None:
        code = code_of(
            context.channel_config.keys.secret, send.user_id, send.channel, reach.value, send.notification_id
        )
        send = with_code(send, code)
    user = user_shown(context.state.knowledge, send.user_id)
    template = template_of(send, context.catalog, delivery.open.rendered)
    config = context.channel_config
    at = delivery.open.first_called_at or context.now
    around = Around(config.links, delivery.open.mailed or _mailed(context, send), config.postal_address, at)
    message = compose(send, template, context.catalog, user, reach.locale, around)
    limit = _sms_limit(context)
    if limit is None or limit.over != "truncate" or isinstance(message, RenderError):
        return message
    return replaced(message, body=shortened(message.body or "", limit.max_segments))


def _sms_limit(context: SenderContext) -> SmsLimit | None:
    return context.catalog.policy.sms if context.channel_config.channel == "sms" else None


def _mailed(context: SenderContext, send: Send) -> Mailed:
    return mailed_of(send, context.catalog.policy, context.channel_config.links)


def _callback_url(context: SenderContext, send: Send, provider: Provider, attempt: int) -> str | None:
    if context.channel_config.public_url is None:
        return None
    # In the order of the alphabet: Twilio sorts the parameters, and signs what it was given (twilio/twilio-php#790).
    named = urlencode({"attempt": attempt, "notification_id": send.notification_id, "send_id": send.send_id})
    return f"{context.channel_config.public_url.rstrip('/')}/v1/webhooks/{provider}?{named}"
