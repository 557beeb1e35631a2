"""Closes a digest: its items become one notification, or go on singly."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from agents.router.context import RouterContext
from agents.router.evaluate import begin, evaluate_again
from agents.router.notification_record import NotificationRecord
from agents.router.stop import called_off, end_waits, stop_of
from agents.router.tracing import trace_digest
from agents.shared.slices import Walk
from app.domain.digest import Aggregate, DigestItem, DigestRule, Singly, carried, close, due_of
from app.domain.ids import derived_id
from app.domain.policy import Policy
from app.domain.preferences import evaluate_consent, evaluate_preference, rhythm_in_force
from app.domain.rendering import choose_variant
from app.ports import FailedReason
from schemas.instants import rfc3339
from schemas.requests import Request
from schemas.sends import Item
from tables.digests import Gathering, digest_key, plain_digest_key
from tables.notifications import Facts, Notification, notification_key
from tables.routed import RECEIPTS_MS
from tables.schedule import Due, due_ms_of
from tables.slices import DropDigests, RetimeDigests, go_on_later, of_user

#: The source of what digests say.
SOURCE = "tocsin"

#: What becomes of an item by itself: it goes on singly, is dropped, waits until another time, or fails for a reason.
ItemWork = Literal["single", "dropped", "retimed"] | FailedReason
#: So many are seen to at once.
_AT_ONCE = 8

#: An item's notification, and the index of the part of it that waits.
_Waiting = tuple[NotificationRecord, int]


def close_digest(context: RouterContext, key: bytes, cause: str) -> None:
    """The digest's time has come (or it is full)."""
    row = context.state.digests.get(key)
    if row is None or due_ms_of(row.due) > context.now:
        return
    context.state.digests.delete(key)
    waiting = _waiting(context, row, cause)
    alive = {name: found for name, found in waiting.items() if _still_wanted(*found)}
    rule = _rule_of(context.policy, row)
    outcome = close(row.digest, rule, alive) if rule is not None else Singly(row.digest.items)
    if isinstance(outcome, Aggregate) and rule is not None:
        _say_once(context, key, row, rule, outcome, alive, cause)
        context.out.tally("digests", row.digest.rule, "aggregated")
    else:
        _each(context, row, [i for i in outcome.items if i.notification_id in alive], "single", cause)
        context.out.tally("digests", row.digest.rule, "single" if alive else "empty")


def give_up_digest(context: RouterContext, key: bytes, reason: FailedReason, cause: str) -> None:
    """It can't be closed: each item fails."""
    row = context.state.digests.get(key)
    if row is None or due_ms_of(row.due) > context.now:
        return
    context.state.digests.delete(key)
    _each(context, row, row.digest.items, reason, cause)
    context.out.tally("digests", row.digest.rule, "failed")


def give_up_item(context: RouterContext, due: Due, reason: FailedReason) -> None:
    _, cause, name = _item_work(due)
    _let_go(context, due.subject[2:], name.encode(), reason, cause)


def time_digests_again(context: RouterContext, user_id: str, cause: str) -> None:
    """The user chose another rhythm, or lives by another clock: what is being gathered closes by what holds now."""
    retime_digests(context, RetimeDigests(cause, *of_user(user_id), user_id))


def retime_digests(context: RouterContext, work: RetimeDigests) -> None:
    walk = Walk(context.state.digests, work.start, work.end)
    for key, row in walk:
        walk.spend(row.digest.size, len(row.digest.items))
        _retime(context, key, row, work.cause)
    if not walk.is_over:
        go_on_later(context.state.schedule, context.now, work, walk.at)


def _retime(context: RouterContext, key: bytes, row: Gathering, cause: str) -> None:
    known, policy, user_id = context.state.known, context.policy, row.user_id
    rule = _rule_of(policy, row)
    if rule is None or not 0 < len(row.digest.items) < rule.max_items:
        return
    category = policy.rule_of(row.digest.items[0].event_type).category
    rhythm = rhythm_in_force(known.preferences(user_id), category, rule)
    due_ms = max(due_of(row.digest, rule, rhythm, known.zone(user_id, policy)), context.now)
    if due_ms == due_ms_of(row.due):
        return
    context.state.schedule.delete(row.due)
    due = context.state.schedule.at(due_ms, Due("digest", user_id, key))
    context.state.digests.put(key, replace(row, due=due))
    _each(context, row, row.digest.items, "retimed", cause)


def drop_when_active(context: RouterContext, user_id: str, cause: str) -> None:
    """The user is in the app: what was gathered under a rule that says so is dropped."""
    drop_digests(context, DropDigests(cause, *of_user(user_id), user_id, context.now))


def drop_digests(context: RouterContext, work: DropDigests) -> None:
    walk = Walk(context.state.digests, work.start, work.end)
    for key, row in walk:
        rule = _rule_of(context.policy, row)
        if rule is None or not rule.drop_when_active or row.digest.first_ms > work.at_ms:
            continue
        walk.spend(row.digest.size, len(row.digest.items))
        context.state.schedule.delete(row.due)
        context.state.digests.delete(key)
        _each(context, row, row.digest.items, "dropped", work.cause)
        context.out.tally("digests", row.digest.rule, "dropped")
    if not walk.is_over:
        go_on_later(context.state.schedule, context.now, work, walk.at)


# --- items, each by itself ---


def _each(context: RouterContext, row: Gathering, items: Sequence[DigestItem], what: ItemWork, cause: str) -> None:
    """At once if they are few; else each has a row of the schedule: together they may be more than a batch can hold."""
    name = digest_key(row.user_id, row.digest.rule, row.digest.key, row.digest.channel)
    for number, item in enumerate(items):
        key = notification_key(row.user_id, item.notification_id)
        if len(items) <= _AT_ONCE:
            _let_go(context, key, name, what, cause)
            continue
        detail = msgspec.json.encode((what, cause, name.decode())).decode()
        context.state.schedule.at(context.now, Due("item", row.user_id, number.to_bytes(2, "big") + key, detail))


def wake_item(context: RouterContext, due: Due) -> None:
    what, cause, name = _item_work(due)
    _let_go(context, due.subject[2:], name.encode(), what, cause)


def _item_work(due: Due) -> tuple[ItemWork, str, str]:
    return msgspec.json.decode(due.detail, type=tuple[ItemWork, str, str])


def _let_go(context: RouterContext, key: bytes, name: bytes, what: ItemWork, cause: str) -> None:
    """What became of a digest, for one of its items that still waits there."""
    notification = NotificationRecord.load(context, key, cause)
    if notification is None:
        return
    index = next((i for i, p in enumerate(notification.parts) if p.wait == "digest" and p.waits_for == name), None)
    if index is None:
        return
    notification.trail = []
    if what != "single" and (stop := called_off(notification)) is not None:
        end_waits(notification, *stop)
        return
    notification.trail = []
    if what == "single":
        notification.parts[index] = replace(notification.unwait(index), undigested=True)
        evaluate_again(notification, index)
    elif what == "dropped":
        notification.end_part(index, "suppressed", "active_in_app")
    elif what == "too_large" or what == "permanent":
        notification.end_part(index, "failed", what)
    elif (digest := context.state.digests.get(name)) is not None:
        due_ms = due_ms_of(digest.due)
        if notification.parts[index].until_ms != due_ms:
            notification.parts[index] = replace(notification.parts[index], until_ms=due_ms)
            notification.emit("held", notification.parts[index].channel, "digest", due=rfc3339(due_ms))


def _waiting(context: RouterContext, row: Gathering, cause: str) -> dict[str, _Waiting]:
    """The items that still wait in the digest, by notification."""
    found: dict[str, _Waiting] = {}
    named = (row.user_id, row.digest.rule, row.digest.key, row.digest.channel)
    names = (digest_key(*named), plain_digest_key(*named))
    for item in row.digest.items:
        notification = NotificationRecord.load(context, notification_key(row.user_id, item.notification_id), cause)
        for index, part in enumerate(notification.parts if notification is not None else ()):
            if notification is not None and part.wait == "digest" and part.waits_for in names:
                found[item.notification_id] = notification, index
    return found


def _still_wanted(notification: NotificationRecord, index: int) -> bool:
    """Whether it was not cancelled, has not expired and is not opted out of; else that is its end."""
    channel = notification.parts[index].channel
    if (stop := stop_of(notification)) is not None:
        notification.end_part(index, *stop)
        return False
    recipient, category = notification.recipient, notification.rule.category
    wanted = evaluate_preference(recipient.preferences, notification.rule, notification.facts.event_type, channel)
    consented = evaluate_consent(recipient.consent(channel, category.name), category, channel)
    notification.trail.append(("preference", wanted.allowed, wanted.by))
    if wanted.allowed and consented.allowed:
        return True
    if wanted.allowed:
        notification.trail.append(("consent", False, consented.by))
    notification.end_part(index, "suppressed", "no_consent" if wanted.allowed else "opted_out")
    return False


def _rule_of(policy: Policy, row: Gathering) -> DigestRule | None:
    """The policy's rule of that name, or an event type's own; None if the policy in force has it no more."""
    named = policy.digests.get(row.digest.rule)
    if named is not None or not row.digest.items:
        return named
    own = policy.rule_of(row.digest.items[0].event_type).digest
    return own if own is not None and own.name == row.digest.rule else None


def _say_once(
    context: RouterContext,
    key: bytes,
    row: Gathering,
    rule: DigestRule,
    outcome: Aggregate,
    alive: dict[str, _Waiting],
    cause: str,
) -> None:
    """Each item is aggregated; the notification that they become is judged from DND on."""
    due_ms = due_ms_of(row.due)
    name = derived_id("digest", key.decode(), str(row.digest.first_ms), str(due_ms))
    notifications = [alive[item.notification_id] for item in outcome.items]
    for notification, index in notifications:
        notification.end_part(index, "aggregated", into=name)
    items = _items(outcome.items, [notification for notification, _ in notifications])
    one = _notification(
        context, row, rule, outcome, items, [notification.facts for notification, _ in notifications], name, due_ms
    )
    traces = [notification.facts.trace for notification, _ in notifications if notification.facts.trace is not None]
    if traces:
        one = replace(one, facts=trace_digest(context, one.facts, traces, cause))
    notification = NotificationRecord.new(context, notification_key(row.user_id, name), one, cause)
    notification.emit("accepted")
    channels = context.catalog.channels_of_template(rule.template)
    if not channels:
        notification.trail.append(("template", False, rule.template))
        notification.emit("failed", None, "bad_template")
    elif row.digest.channel not in channels:
        notification.trail.append(("channels", False, "template"))
        notification.emit("suppressed", None, "no_channel")
    else:
        begin(notification, row.digest.channel, undigested=True)


def _notification(
    context: RouterContext,
    row: Gathering,
    rule: DigestRule,
    outcome: Aggregate,
    items: list[Item],
    of: list[Facts],
    name: str,
    due_ms: int,
) -> Notification:
    policy = context.policy
    template = context.catalog.template(rule.template)
    user_id = row.user_id
    facts = Facts(
        notification_id=name,
        user_id=user_id,
        event_type=outcome.event_type,
        category=of[0].category,
        priority=outcome.priority,
        source=SOURCE,
        campaign_id=outcome.campaign_id,
        template_id=rule.template,
        template_version=template.version if template is not None else None,
        variant=choose_variant(template.template, user_id) if template is not None else None,
        policy_version=context.catalog.policy_version,
        collapse_key=None,
        replay_id=None,
        bulk=all(facts.bulk for facts in of),
        created_ms=context.now,
        accepted_ms=context.now,
        recorded_ms=due_ms,
        expires_ms=context.now + policy.rule_of(outcome.event_type).expires_after_ms,
    )
    request = Request(
        user_id=user_id, event_type=outcome.event_type, template_id=rule.template, notification_id=name, source=SOURCE
    )
    return Notification(
        facts=facts,
        position=f"digest:{context.state.partition}:{due_ms}",
        content=b"",
        until_ms=context.now + max(policy.dedup_keys_ms, RECEIPTS_MS),
        request=msgspec.json.encode(request),
        items=msgspec.json.encode(items),
        after_erasure=context.state.known.forgetting(user_id),
    )


def _items(items: Sequence[DigestItem], notifications: Sequence[NotificationRecord]) -> list[Item]:
    """As templates see them, oldest first; the newest carry their data, as far as there is room."""
    data: list[bytes] = []

    def sizes() -> Iterator[int]:
        for notification in reversed(notifications):  # (no more is decoded than fits)
            data.append(msgspec.json.encode(notification.data()))
            yield len(data[-1])

    whole = carried(sizes())
    shown = [msgspec.Raw(each) for each in reversed(data[:whole])]
    cut = [_shown(item) for item in items[: len(items) - whole]]
    return [replace(item, truncated=True) for item in cut] + [
        replace(_shown(item), data=each) for item, each in zip(items[len(items) - whole :], shown, strict=True)
    ]


def _shown(item: DigestItem) -> Item:
    return Item(notification_id=item.notification_id, event_type=item.event_type, at=rfc3339(item.at))
