"""What a call came to: the end, another try, or a doubt that evidence settles, never a blind second call."""

from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.calls import Call, Result
from agents.claiming import call_of, compose_for, give_up, proceed, providers_for, try_again
from agents.doubts import How
from agents.known import known_of
from agents.turn import Job, Turn, job_of
from app.domain.addresses import address_hash
from app.domain.attempts import SHARED_EVIDENCE, Again, Doubt, End, after, ask_at, may_resend, resend, settle_until
from app.domain.last_look import Over, Reach
from app.domain.outcome import LANE_FULL, LANE_RESTS, Outcome
from app.ports import Message
from schemas.instants import rfc3339
from schemas.receipts import Receipt
from schemas.results import CalledAddress, SendResult
from schemas.words import Provider
from tables.attempts import Timer
from tables.pauses import MOST_DOUBTS

#: The answer to a question that nobody answered comes no later than this after its time limit.
_GRACE_MS = 5_000


def note_answer(turn: Turn, result: Result) -> None:
    """What a call says of the address that it went to."""
    call, outcome = result.call, result.outcome
    if outcome is None or call.purpose != "send" or outcome.code in (LANE_RESTS, LANE_FULL):
        return
    if outcome.kind == "in_doubt" and outcome.doubt == "timeout":
        turn.carrier.silences.note_silent(call.to.value, call.claimed_at, turn.now)
    elif outcome.kind not in ("in_doubt", "retry"):
        turn.carrier.silences.note_answered(call.to.value, turn.now)


def settle_send(turn: Turn, job: Job, result: Result) -> None:
    """Takes what came of a call to send."""
    if result.call.number != job.open.call or not job.in_call:
        _settle_late(turn, job, result)
    elif result.outcome is not None:
        _take(turn, job, result.call, result.outcome)
    else:
        proceed(turn, replaced(job, state="calling"))  # it was not made: its look was no longer fresh


def _settle_late(turn: Turn, job: Job, result: Result) -> None:
    """An answer that came when the send had moved on: only that it was accepted still matters."""
    if result.outcome is not None and result.outcome.kind == "ok":
        _own(turn, result.call.provider, result.outcome.provider_message_id)
        turn.end(job, "sent", provider_message_id=result.outcome.provider_message_id)


def _take(turn: Turn, job: Job, call: Call, outcome: Outcome) -> None:
    if job.open.proven is not None and outcome.kind != "ok":
        outcome = Outcome("ok", provider_message_id=job.open.proven or None)
    policy = turn.catalog.policy
    able = providers_for(turn, Reach(call.to.value, platform=call.to.platform))
    following = after(outcome, job.open.tries, policy.retries[turn.carrier.channel], able, job.send.send_id, turn.now)
    match following:
        case Doubt(reason):
            if job.state != "in_doubt":
                begin_doubt(turn, job, reason, outcome.code)
        case Again():
            try_again(turn, job, following, outcome)
        case End("sent"):
            _accepted(turn, job, outcome.provider_message_id)
        case End(status, reason):
            turn.end(job, status, reason, detail=_error(outcome.code), address=_address_to_retire(call, outcome))


def _own(turn: Turn, provider: Provider | None, provider_message_id: str | None) -> None:
    """Where a provider is asked by text, it is remembered whose each message is."""
    if provider in SHARED_EVIDENCE and provider_message_id:
        turn.state.attempts.own_message(provider, provider_message_id, turn.now)


def _accepted(turn: Turn, job: Job, provider_message_id: str | None, how: How = "answer") -> None:
    _own(turn, job.open.tries.provider, provider_message_id)
    latency_ms = turn.now - job.send.accepted_at
    turn.end(job, "sent", provider_message_id=provider_message_id, detail={"latency_ms": latency_ms}, how=how)


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


def begin_doubt(turn: Turn, job: Job, reason: str, code: str | None = None) -> None:
    """The outcome of the call in flight isn't known: from here on only evidence moves the send."""
    if job.open.proven is not None:
        _accepted(turn, job, job.open.proven or None)
        return
    if turn.state.knowledge.erased(job.send.user_id):
        turn.end(job, "unknown")  # nothing is asked after for them, so nothing of it is kept
        return
    policy = turn.catalog.policy
    until = settle_until(policy.in_doubt, job.send.category, job.open.tries, turn.now, job.send.expires_at)
    turn.tell(job, "in_doubt", reason, detail={**_error(code), "until": rfc3339(until)})
    doubted = replace(job.open, doubted_at=turn.now, settle_until=until, asked=0)
    turn.rest(job, "in_doubt", doubted, Timer("settle", ask_at(turn.now, 0, until)))


def ask(turn: Turn, job: Job) -> None:
    """Asks the provider after the send; without an address or a text to ask for there is nothing to find."""
    known = known_of(turn.state.knowledge, job.send, turn.catalog.policy, turn.carrier.keys.secret)
    if known.erased:
        give_up(turn, job, Over("suppressed", "erased"))
        return
    asking = replaced(job, open=replace(job.open, asked=job.open.asked + 1))
    reach, provider = known.reach, job.open.tries.provider
    timeout_ms = turn.carrier.timeouts_ms.get(provider) if provider is not None else None
    message = compose_for(turn, job, reach) if reach is not None else None
    if reach is None or timeout_ms is None or not isinstance(message, Message):
        found_nothing(turn, asking, answered=False)
        return
    turn.rest(job, "in_doubt", asking.open, Timer("deadline", turn.now + timeout_ms + _GRACE_MS))
    turn.out.call(call_of(turn, asking, reach, message, "ask", timeout_ms))


def settle_question(turn: Turn, job: Job, result: Result) -> None:
    """Takes what asking found."""
    if job.state != "in_doubt" or result.call.number != job.open.call:
        return
    outcome = result.outcome
    found = _found(turn, job, result.call, outcome) if outcome is not None and outcome.kind == "ok" else None
    if found is not None:
        _accepted(turn, job, found or None, "found")
    else:
        found_nothing(turn, job, answered=outcome is None or outcome.kind == "ok")


def _found(turn: Turn, job: Job, call: Call, outcome: Outcome) -> str | None:
    """The message that is certainly this send's ("": one without an id). What could be another's is no evidence: it is
    known to be, or another of the same text is in doubt or under way, and there isn't one for each."""
    if not outcome.found:
        return outcome.provider_message_id or ""
    unknown = [name for name in outcome.found if not turn.state.attempts.is_owned(call.provider, name)]
    if len(unknown) > _rivals(turn, job, call):
        return unknown[0]
    if turn.now >= job.open.settle_until:  # it is given up, and they may be its own: they prove no other's, either
        for name in unknown:
            turn.state.attempts.own_message(call.provider, name, turn.now)
    return None


def _rivals(turn: Turn, job: Job, call: Call) -> int:
    """How many other sends of the user say the same, and may have arrived."""
    keys = {*turn.state.pauses.in_doubt(job.send.user_id), *turn.state.flights.get(job.line, {})} - {job.key}
    if len(keys) >= MOST_DOUBTS - 1:
        return len(keys)
    return sum(_says_the_same(turn, key, call) for key in keys)


def _says_the_same(turn: Turn, key: bytes, call: Call) -> bool:
    other = job_of(turn, key)
    if other is None or not other.in_call:
        return False
    reach = known_of(turn.state.knowledge, other.send, turn.catalog.policy, turn.carrier.keys.secret).reach
    message = compose_for(turn, other, reach) if reach is not None else None
    # (what can't be composed any more may have said anything)
    return not isinstance(message, Message) or (message.body or "").strip() == (call.message.body or "").strip()


def found_nothing(turn: Turn, job: Job, *, answered: bool) -> None:
    """``answered``: the provider says that it knows nothing of the send (or can't be asked at all)."""
    if turn.now < job.open.settle_until:
        timer = Timer("settle", max(turn.now, ask_at(job.open.doubted_at, job.open.asked, job.open.settle_until)))
        turn.rest(job, "in_doubt", job.open, timer)
        return
    if answered and may_resend(turn.catalog.policy.in_doubt, job.send.category, job.open.tries):
        again = replace(job.open, tries=resend(job.open.tries))
        proceed(turn, replaced(job, state="retrying", open=again))  # the first call is over, whatever came of it
    else:
        turn.end(job, "unknown")


def prove(turn: Turn, job: Job, receipt: Receipt | SendResult) -> None:
    """Something came back of the send, so a provider has accepted it."""
    if job.state == "calling":
        proven = replace(job.open, proven=receipt.provider_message_id or "")
        turn.rest(job, "calling", proven, job.open.timer)
    elif job.state == "in_doubt" or job.open.tries.doubted:
        _accepted(turn, job, receipt.provider_message_id, "receipt" if isinstance(receipt, Receipt) else "answer")
