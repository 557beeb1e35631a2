"""Judging: the whole of a notification, then each of its channels, and carrying out what the rules say."""

from msgspec.structs import replace

from agents.case import Case
from agents.collapsing import replace_older
from agents.gathering import gather, lead_digest, may_lead
from agents.places import join_queue
from agents.queueing import queue
from agents.stopping import stop_of
from app.domain.routing import Verdict, judge_channel
from schemas.instants import rfc3339, stored_ms
from schemas.words import Channel
from tables.notifications import Part
from tables.windows import NO_WINDOWS


def waits_for_its_time(case: Case) -> bool:
    """Whether ``send_at`` is yet to come; then the whole of it waits."""
    send_at = case.request.send_at if case.request is not None else None
    due_ms = stored_ms(send_at) if send_at is not None else 0
    if due_ms <= case.desk.now:
        case.trail.append(("scheduled", True))
        return False
    case.trail.append(("scheduled", "wait", due_ms))
    case.scheduled = case.wake_at(due_ms, "judge", "")
    case.tell("scheduled", until=rfc3339(due_ms))
    return True


def begin(case: Case, channel: Channel, step: int = 0, *, undigested: bool = False) -> int:
    """Begins a channel and judges it; returns the index of its part."""
    case.parts.append(Part(channel, step, undigested=undigested))
    judge_part(case, len(case.parts) - 1)
    return len(case.parts) - 1


def judge_again(case: Case, index: int) -> bool:
    """A part whose wait ended: from "erased" on, with what is known now. False: the whole of it is over."""
    case.trail = []
    case.use_what_is_in_force()
    stop = stop_of(case)
    if stop is not None:
        case.end_part(index, *stop)
        return False
    judge_part(case, index)
    return True


def judge_part(case: Case, index: int) -> None:
    """Asks every rule of a channel and does what they say."""
    part = case.parts[index]
    verdict = _verdict(case, part, part.undigested)
    if verdict.act == "digest":
        leading = _verdict(case, part, True) if may_lead(case, part.channel, verdict) else None
        if leading is None or leading.act != "queue":
            gather(case, index, verdict)
            replace_older(case, part.channel)
            return
        lead_digest(case, part.channel, verdict)
        verdict = leading
    match verdict.act:
        case "queue":
            queue(case, index, verdict)
            replace_older(case, part.channel)
        case "hold":
            _hold(case, index, verdict)
            replace_older(case, part.channel)
        case "fail":
            case.end_part(index, "failed", verdict.reason, trail=verdict.trail)
        case _ if verdict.over is not None:
            over = verdict.over
            case.end_part(
                index,
                "suppressed",
                verdict.reason,
                trail=verdict.trail,
                cap=over.cap.name,
                used_by=over.used_by,
            )
        case _:
            case.end_part(index, "suppressed", verdict.reason, trail=verdict.trail)


def _verdict(case: Case, part: Part, undigested: bool) -> Verdict:
    desk = case.desk
    windows = desk.state.windows.get(case.facts.user_id.encode()) or NO_WINDOWS
    return judge_channel(
        part.channel,
        case.subject(),
        case.recipient,
        desk.policy,
        desk.providers,
        windows.places(),
        windows.waiting,
        undigested,
        desk.now,
    )


def _hold(case: Case, index: int, verdict: Verdict) -> None:
    """Waits until the rule lets it through, or until it expires."""
    assert verdict.reason is not None
    before = case.parts[index]
    cap = verdict.over.cap.name if verdict.over is not None else None
    part = case.unwait(index, keep_queue=cap.encode() if cap is not None else None)
    until = verdict.until_ms
    due = case.wake_at(min(verdict.due_ms, case.facts.expires_ms), "judge", str(index))
    if cap is not None:
        join_queue(case.desk, case.facts.user_id, case.own_id, cap)
    case.parts[index] = replace(part, wait=verdict.reason, until_ms=until, due=due, waits_for=(cap or "").encode())
    if (before.wait, before.until_ms) == (verdict.reason, until):
        return  # nothing new to tell
    if verdict.over is None:
        case.tell("held", part.channel, verdict.reason, trail=verdict.trail, until=rfc3339(until))
    else:
        case.tell(
            "held",
            part.channel,
            verdict.reason,
            trail=verdict.trail,
            until=rfc3339(until),
            cap=cap,
            used_by=verdict.over.used_by,
        )
