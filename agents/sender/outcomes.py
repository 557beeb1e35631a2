"""Acts on the outcome of a call: the end, a retry, or a doubt that evidence settles, never a blind second call."""

from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.sender.calls import Call, Result, Seen
from agents.sender.context import Delivery, SenderContext, delivery_of
from agents.sender.dispatch import (
    call_of,
    compose_for,
    give_up,
    proceed,
    providers_for,
    takes_over_after_ms,
    try_again,
)
from agents.sender.doubts import How
from agents.shared.lifecycle import report
from agents.shared.recipients import known_of
from app.domain.addresses import address_hash
from app.domain.attempts import SHARED_EVIDENCE, Again, Doubt, End, after, ask_at, may_resend, resend, settle_until
from app.domain.device_rates import REST_MS
from app.domain.last_look import Over, Reach
from app.domain.outcome import AT_CAPACITY, CIRCUIT_OPEN, Outcome
from app.domain.tracing import call_span
from app.ports import Message
from schemas.instants import rfc3339
from schemas.receipts import Receipt
from schemas.results import CalledAddress, SendResult
from schemas.words import Provider
from tables.attempts import Timer
from tables.pauses import MOST_DOUBTS

#: The answer to a question that nobody answered comes no later than this after its time limit.
_GRACE_MS = 5_000


def note_answer(context: SenderContext, result: Result) -> None:
    """What a call says of the address that it went to."""
    call, outcome = result.call, result.outcome
    if outcome is None or call.purpose != "send" or outcome.code in (CIRCUIT_OPEN, AT_CAPACITY):
        return
    if outcome.kind == "in_doubt" and outcome.doubt == "timeout":
        context.channel_config.silences.note_silent(call.to.value, call.claimed_at, context.now)
    elif outcome.kind not in ("in_doubt", "retry"):
        context.channel_config.silences.note_answered(call.to.value, context.now)
    if outcome.kind == "throttle" and outcome.scope == "address":
        until = context.now + (outcome.retry_after_ms or REST_MS)
        context.channel_config.devices.rest(call.provider, call.to.value, until)


def show_call(context: SenderContext, delivery: Delivery, result: Result, seen: Seen) -> None:
    """Adds a call that was made to its send's trace."""
    call, outcome, send = result.call, result.outcome, delivery.send
    if send.trace is None or seen.began_ms is None:
        return
    span = call_span(
        send.trace,
        send.send_id,
        send.notification_id,
        call.number,
        call.provider,
        call.purpose,
        call.handle.attempt,
        seen.began_ms,
        seen.ended_ms,
        "nothing_found" if outcome is None else outcome.kind,
        None if outcome is None else outcome.code,
        seen.http_status,
    )
    context.out.spans.append(span)


def settle_send(context: SenderContext, delivery: Delivery, result: Result) -> None:
    """Takes what came of a call to send."""
    if result.call.number != delivery.open.call or not delivery.in_call:
        _settle_late(context, delivery, result)
    elif result.outcome is not None:
        _take(context, delivery, result.call, result.outcome)
    else:
        proceed(context, replaced(delivery, state="calling"))  # it was not made: its look was no longer fresh


def _settle_late(context: SenderContext, delivery: Delivery, result: Result) -> None:
    """An answer that came when the send had moved on: only that it was accepted still matters."""
    if result.outcome is not None and result.outcome.kind == "ok":
        _own(context, result.call.provider, result.outcome.provider_message_id)
        latency = {"latency_ms": context.now - delivery.send.accepted_at}
        context.end(delivery, "sent", provider_message_id=result.outcome.provider_message_id, detail=latency)


def _take(context: SenderContext, delivery: Delivery, call: Call, outcome: Outcome) -> None:
    if delivery.open.proven is not None and outcome.kind != "ok":
        outcome = Outcome("ok", provider_message_id=delivery.open.proven or None)
    policy = context.catalog.policy
    able = providers_for(context, delivery.send, Reach(call.to.value, platform=call.to.platform))
    following = after(
        outcome,
        delivery.open.tries,
        policy.retries[context.channel_config.channel],
        able,
        delivery.send.send_id,
        context.now,
        context.paused,
        takes_over_after_ms(context, delivery.send),
    )
    match following:
        case Doubt(reason):
            if delivery.state != "in_doubt":
                begin_doubt(context, delivery, reason, outcome.code)
        case Again():
            try_again(context, delivery, following, outcome)
        case End("sent"):
            _accepted(context, delivery, outcome.provider_message_id)
        case End(status, reason):
            context.end(
                delivery, status, reason, detail=_error(outcome.code), address=_address_to_retire(call, outcome)
            )


def _own(context: SenderContext, provider: Provider | None, provider_message_id: str | None) -> None:
    """Where a provider is asked by text, it is remembered whose each message is."""
    if provider in SHARED_EVIDENCE and provider_message_id:
        context.state.attempts.own_message(provider, provider_message_id, context.now)


def _accepted(context: SenderContext, delivery: Delivery, provider_message_id: str | None, how: How = "answer") -> None:
    _own(context, delivery.open.tries.provider, provider_message_id)
    latency_ms = context.now - delivery.send.accepted_at
    context.end(delivery, "sent", provider_message_id=provider_message_id, detail={"latency_ms": latency_ms}, how=how)


def _address_to_retire(call: Call, outcome: Outcome) -> CalledAddress | None:
    """What the router needs to retire or suppress the address that was called, and no newer one."""
    opted_out = outcome.why == "opted_out"
    if outcome.kind != "bad_token" and not opted_out:
        return None
    return CalledAddress(
        address_hash=address_hash(call.to.channel, call.to.value).hex(),
        called_at=call.claimed_at,
        invalid_since=outcome.invalid_since_ms,
        opted_out=opted_out,
    )


def _error(code: str | None) -> dict[str, str]:
    return {} if code is None else {"error": code}


# --- in doubt ----------------------------------------------------------------------------------------------------


def begin_doubt(context: SenderContext, delivery: Delivery, reason: str, code: str | None = None) -> None:
    """The outcome of the call in flight isn't known: from here on only evidence moves the send."""
    if delivery.open.proven is not None:
        _accepted(context, delivery, delivery.open.proven or None)
        return
    if context.state.knowledge.erased(delivery.send.user_id):
        context.end(delivery, "unknown")  # nothing is asked after for them, so nothing of it is kept
        return
    policy = context.catalog.policy
    until = settle_until(
        policy.in_doubt, delivery.send.category, delivery.open.tries, context.now, delivery.send.expires_at
    )
    context.emit(delivery, "in_doubt", reason, detail={**_error(code), "until": rfc3339(until)})
    report(context.out, delivery.send, "in_doubt", context.now, provider=delivery.provider)
    doubted = replace(delivery.open, doubted_at=context.now, settle_until=until, asked=0)
    context.rest(delivery, "in_doubt", doubted, Timer("settle", ask_at(context.now, 0, until)))


def ask(context: SenderContext, delivery: Delivery) -> None:
    """Asks the provider after the send; without an address or a text to ask for there is nothing to find."""
    known = known_of(context.state.knowledge, delivery.send, context.catalog.policy, context.channel_config.keys.secret)
    if known.erased:
        give_up(context, delivery, Over("suppressed", "erased"))
        return
    asking = replaced(delivery, open=replace(delivery.open, asked=delivery.open.asked + 1))
    reach, provider = known.reach, delivery.open.tries.provider
    timeout_ms = context.channel_config.timeouts_ms.get(provider) if provider is not None else None
    message = compose_for(context, delivery, reach) if reach is not None else None
    if reach is None or timeout_ms is None or not isinstance(message, Message):
        found_nothing(context, asking, answered=False)
        return
    context.rest(delivery, "in_doubt", asking.open, Timer("deadline", context.now + timeout_ms + _GRACE_MS))
    context.out.call(call_of(context, asking, reach, message, "ask", timeout_ms))


def settle_question(context: SenderContext, delivery: Delivery, result: Result) -> None:
    """Takes what asking found."""
    if delivery.state != "in_doubt" or result.call.number != delivery.open.call:
        return
    outcome = result.outcome
    found = _found(context, delivery, result.call, outcome) if outcome is not None and outcome.kind == "ok" else None
    if found is not None:
        _accepted(context, delivery, found or None, "found")
    else:
        found_nothing(context, delivery, answered=outcome is None or outcome.kind == "ok")


def _found(context: SenderContext, delivery: Delivery, call: Call, outcome: Outcome) -> str | None:
    """The message that is certainly this send's ("": one without an id). What could be another's is no evidence: it is
    known to be, or another of the same text is in doubt or under way, and there isn't one for each."""
    if not outcome.found:
        return outcome.provider_message_id or ""
    unknown = [name for name in outcome.found if not context.state.attempts.is_owned(call.provider, name)]
    if len(unknown) > _rivals(context, delivery, call):
        return unknown[0]
    if (
        context.now >= delivery.open.settle_until
    ):  # it is given up, and they may be its own: they prove no other's, either
        for name in unknown:
            context.state.attempts.own_message(call.provider, name, context.now)
    return None


def _rivals(context: SenderContext, delivery: Delivery, call: Call) -> int:
    """How many other sends of the user say the same, and may have arrived."""
    keys = {*context.state.pauses.in_doubt(delivery.send.user_id), *context.state.flights.get(delivery.line, {})} - {
        delivery.key
    }
    if len(keys) >= MOST_DOUBTS - 1:
        return len(keys)
    return sum(_says_the_same(context, key, call) for key in keys)


def _says_the_same(context: SenderContext, key: bytes, call: Call) -> bool:
    other = delivery_of(context, key)
    if other is None or not other.in_call:
        return False
    reach = known_of(
        context.state.knowledge, other.send, context.catalog.policy, context.channel_config.keys.secret
    ).reach
    message = compose_for(context, other, reach) if reach is not None else None
    # (what can't be composed any more may have said anything)
    return not isinstance(message, Message) or (message.body or "").strip() == (call.message.body or "").strip()


def found_nothing(context: SenderContext, delivery: Delivery, *, answered: bool) -> None:
    """``answered``: the provider says that it knows nothing of the send (or can't be asked at all)."""
    if context.now < delivery.open.settle_until:
        timer = Timer(
            "settle",
            max(context.now, ask_at(delivery.open.doubted_at, delivery.open.asked, delivery.open.settle_until)),
        )
        context.rest(delivery, "in_doubt", delivery.open, timer)
        return
    if answered and may_resend(context.catalog.policy.in_doubt, delivery.send.category, delivery.open.tries):
        again = replace(delivery.open, tries=resend(delivery.open.tries))
        proceed(
            context, replaced(delivery, state="retrying", open=again)
        )  # the first call is over, whatever came of it
    else:
        context.end(delivery, "unknown")


def prove(context: SenderContext, delivery: Delivery, receipt: Receipt | SendResult) -> None:
    """Something came back of the send, so a provider has accepted it."""
    if delivery.state == "calling":
        proven = replace(delivery.open, proven=receipt.provider_message_id or "")
        context.rest(delivery, "calling", proven, delivery.open.timer)
    elif delivery.state == "in_doubt" or delivery.open.tries.doubted:
        _accepted(
            context, delivery, receipt.provider_message_id, "receipt" if isinstance(receipt, Receipt) else "answer"
        )
