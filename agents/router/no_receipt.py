"""Makes a send once more by the next provider where nothing came back of it in the time that its category gives: a
further step on its channel, a send of its own (docs/policy.md#no-receipt).

It is never made of what is in doubt, which has not ended as sent.
"""

from typing import cast

from msgspec.structs import replace

from agents.router.collapse import newer_of
from agents.router.enqueue import await_until, next_provider, queue, withdraw
from agents.router.evaluate import verdict_of
from agents.router.notification_record import NotificationRecord
from agents.router.stop import stop_awaiting, stop_of
from app.domain.routing import Verdict
from schemas.results import SendResult
from schemas.words import Channel, Provider
from tables.notifications import Part, further_step

#: What can't be made now waits at least so long, whatever the rule says that holds it.
_SHORTEST_WAIT_MS = 1_000


def await_receipt(notification: NotificationRecord, index: int, result: SendResult) -> None:
    """The send has ended: from when it was accepted on, its receipt is awaited. Whatever else became of it, no further
    step follows."""
    part, context = notification.parts[index], notification.context
    if not part.awaits_until:
        return
    wait_ms = context.policy.no_receipt_ms(notification.facts.category, part.channel)
    provider = result.provider if result.status == "sent" else None
    is_answered = notification.came_back or any(sent.reported for sent in part.sends)
    is_last = provider is None or next_provider(context, part.channel, provider) is None
    if provider is None or wait_ms is None or is_answered or is_last:
        stop_awaiting(notification, index)
    else:
        _wait(notification, index, max(result.at + wait_ms, context.now), provider)


def receipt_came(notification: NotificationRecord, channel: Channel | None) -> None:
    """Something came back of a send on the channel (None: of the notification as a whole): no further one is needed."""
    for index, part in enumerate(notification.parts):
        if channel in (None, part.channel):
            stop_awaiting(notification, index)
            if part.of:
                withdraw(notification, index, "cancelled")


def receipt_overdue(notification: NotificationRecord, detail: str) -> None:
    """The time is over. ``detail``: of the timer, see ``await_until``."""
    number, _, name = detail.partition(" ")
    index, provider = int(number), cast(Provider, name)
    part = notification.parts[index]
    if not part.awaits_until:
        return
    wait_ms = notification.context.policy.no_receipt_ms(notification.facts.category, part.channel)
    stop_awaiting(notification, index)
    if wait_ms is None or not provider:
        return
    notification.trail = [("no_receipt", True, name, wait_ms)]
    notification.use_what_is_in_force()
    if stop_of(notification) is not None or newer_of(notification, part.channel) is not None:
        return
    further = Part(part.channel, further_step(part.step), undigested=True, of=part.of or part.sends[0].send_id)
    verdict = verdict_of(notification, further, True)
    if verdict.act == "hold":
        _wait(notification, index, max(verdict.due_ms, notification.context.now + _SHORTEST_WAIT_MS), provider)
    elif verdict.act == "queue":
        _send_further(notification, further, verdict, provider)


def _send_further(notification: NotificationRecord, further: Part, verdict: Verdict, after: Provider) -> None:
    following = next_provider(notification.context, further.channel, after)
    if following is None:
        return
    targets = tuple(replace(target, provider=following, after=after) for target in verdict.targets)
    notification.parts.append(further)
    queue(notification, len(notification.parts) - 1, replace(verdict, targets=targets))
    notification.context.out.tally("no_receipt", further.channel, following)


def _wait(notification: NotificationRecord, index: int, due_ms: int, provider: Provider) -> None:
    """Until then, unless it expires before that."""
    if due_ms < notification.facts.expires_ms:
        await_until(notification, index, due_ms, provider)
    else:
        stop_awaiting(notification, index)
