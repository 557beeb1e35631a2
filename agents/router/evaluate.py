"""Evaluates the rules for a notification and each of its channels, and acts on the verdict."""

from msgspec.structs import replace

from agents.router.cap_slots import join_queue
from agents.router.collapse import replace_older
from agents.router.collect_digest import gather, lead_digest, may_lead
from agents.router.enqueue import queue
from agents.router.notification_record import NotificationRecord
from agents.router.replay_guard import arrived
from agents.router.stop import stop_of
from app.domain.routing import Verdict, evaluate_channel
from schemas.instants import rfc3339, stored_ms
from schemas.words import Channel
from tables.notifications import Part
from tables.windows import NO_WINDOWS


def waits_for_its_time(notification: NotificationRecord) -> bool:
    """Whether ``send_at`` is yet to come; then the whole of it waits."""
    send_at = notification.request.send_at if notification.request is not None else None
    due_ms = stored_ms(send_at) if send_at is not None else 0
    if due_ms <= notification.context.now:
        notification.trail.append(("scheduled", True))
        return False
    notification.trail.append(("scheduled", "wait", due_ms))
    notification.scheduled = notification.wake_at(due_ms, "judge", "")
    notification.emit("scheduled", until=rfc3339(due_ms))
    return True


def begin(notification: NotificationRecord, channel: Channel, step: int = 0, *, undigested: bool = False) -> int:
    """Begins a channel and judges it; returns the index of its part."""
    notification.parts.append(Part(channel, step, undigested=undigested))
    evaluate_part(notification, len(notification.parts) - 1)
    return len(notification.parts) - 1


def evaluate_again(notification: NotificationRecord, index: int) -> bool:
    """A part whose wait ended: from "erased" on, with what is known now. False: the whole of it is over."""
    notification.trail = notification.begins_trail()
    notification.use_what_is_in_force()
    stop = stop_of(notification) or arrived(notification)
    if stop is not None:
        notification.end_part(index, *stop)
        return False
    evaluate_part(notification, index)
    return True


def evaluate_part(notification: NotificationRecord, index: int) -> None:
    """Asks every rule of a channel and does what they say."""
    part = notification.parts[index]
    verdict = verdict_of(notification, part, part.undigested)
    if verdict.act == "digest":
        leading = verdict_of(notification, part, True) if may_lead(notification, part.channel, verdict) else None
        if leading is None or leading.act != "queue":
            gather(notification, index, verdict)
            replace_older(notification, part.channel)
            return
        lead_digest(notification, part.channel, verdict)
        verdict = leading
    match verdict.act:
        case "queue":
            queue(notification, index, verdict)
            replace_older(notification, part.channel)
        case "hold":
            _hold(notification, index, verdict)
            replace_older(notification, part.channel)
        case "fail":
            notification.end_part(index, "failed", verdict.reason, trail=verdict.trail)
        case _ if verdict.over is not None:
            over = verdict.over
            notification.end_part(
                index,
                "suppressed",
                verdict.reason,
                trail=verdict.trail,
                cap=over.cap.name,
                used_by=over.used_by,
            )
        case _:
            notification.end_part(index, "suppressed", verdict.reason, trail=verdict.trail)


def verdict_of(notification: NotificationRecord, part: Part, undigested: bool) -> Verdict:
    """What the rules say of the channel now; changes nothing."""
    context = notification.context
    windows = context.state.windows.get(notification.facts.user_id.encode()) or NO_WINDOWS
    return evaluate_channel(
        part.channel,
        notification.subject(),
        notification.recipient,
        context.policy,
        context.providers,
        windows.places(),
        windows.waiting,
        undigested,
        context.now,
    )


def _hold(notification: NotificationRecord, index: int, verdict: Verdict) -> None:
    """Waits until the rule lets it through, or until it expires."""
    assert verdict.reason is not None
    before = notification.parts[index]
    cap = verdict.over.cap.name if verdict.over is not None else None
    part = notification.unwait(index, keep_queue=cap.encode() if cap is not None else None)
    until = verdict.until_ms
    due = notification.wake_at(min(verdict.due_ms, notification.facts.expires_ms), "judge", str(index))
    if cap is not None:
        join_queue(notification.context, notification.facts.user_id, notification.own_id, cap)
    notification.parts[index] = replace(
        part, wait=verdict.reason, until_ms=until, due=due, waits_for=(cap or "").encode()
    )
    if (before.wait, before.until_ms) == (verdict.reason, until):
        return  # nothing new to tell
    if verdict.over is None:
        notification.emit("held", part.channel, verdict.reason, trail=verdict.trail, until=rfc3339(until))
    else:
        notification.emit(
            "held",
            part.channel,
            verdict.reason,
            trail=verdict.trail,
            until=rfc3339(until),
            cap=cap,
            used_by=verdict.over.used_by,
        )
