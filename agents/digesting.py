"""Digesting: what was gathered becomes one notification, or goes on singly."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from agents.case import Case
from agents.desk import Desk
from agents.judging import begin, judge_again
from agents.slicing import Walk
from agents.stopping import called_off, end_waits, stop_of
from app.domain.digest import Aggregate, DigestItem, DigestRule, Singly, carried, close, due_of
from app.domain.ids import derived_id
from app.domain.policy import Policy
from app.domain.preferences import judge_consent, judge_preference, rhythm_in_force
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
_Waiting = tuple[Case, int]


def close_digest(desk: Desk, key: bytes, cause: str) -> None:
    """The digest's time has come (or it is full)."""
    row = desk.state.digests.get(key)
    if row is None or due_ms_of(row.due) > desk.now:
        return
    desk.state.digests.delete(key)
    waiting = _waiting(desk, row, cause)
    alive = {name: found for name, found in waiting.items() if _still_wanted(*found)}
    rule = _rule_of(desk.policy, row)
    outcome = close(row.digest, rule, alive) if rule is not None else Singly(row.digest.items)
    if isinstance(outcome, Aggregate) and rule is not None:
        _say_once(desk, key, row, rule, outcome, alive, cause)
    else:
        _each(desk, row, [i for i in outcome.items if i.notification_id in alive], "single", cause)


def give_up_digest(desk: Desk, key: bytes, reason: FailedReason, cause: str) -> None:
    """It can't be closed: each item fails."""
    row = desk.state.digests.get(key)
    if row is None or due_ms_of(row.due) > desk.now:
        return
    desk.state.digests.delete(key)
    _each(desk, row, row.digest.items, reason, cause)


def give_up_item(desk: Desk, due: Due, reason: FailedReason) -> None:
    _, cause, name = _item_work(due)
    _let_go(desk, due.subject[2:], name.encode(), reason, cause)


def time_digests_again(desk: Desk, user_id: str, cause: str) -> None:
    """The user chose another rhythm, or lives by another clock: what is being gathered closes by what holds now."""
    retime_digests(desk, RetimeDigests(cause, *of_user(user_id), user_id))


def retime_digests(desk: Desk, work: RetimeDigests) -> None:
    walk = Walk(desk.state.digests, work.start, work.end)
    for key, row in walk:
        walk.spend(row.digest.size, len(row.digest.items))
        _retime(desk, key, row, work.cause)
    if not walk.is_over:
        go_on_later(desk.state.schedule, desk.now, work, walk.at)


def _retime(desk: Desk, key: bytes, row: Gathering, cause: str) -> None:
    known, policy, user_id = desk.state.known, desk.policy, row.user_id
    rule = _rule_of(policy, row)
    if rule is None or not 0 < len(row.digest.items) < rule.max_items:
        return
    category = policy.rule_of(row.digest.items[0].event_type).category
    rhythm = rhythm_in_force(known.preferences(user_id), category, rule)
    due_ms = max(due_of(row.digest, rule, rhythm, known.zone(user_id, policy)), desk.now)
    if due_ms == due_ms_of(row.due):
        return
    desk.state.schedule.delete(row.due)
    due = desk.state.schedule.at(due_ms, Due("digest", user_id, key))
    desk.state.digests.put(key, replace(row, due=due))
    _each(desk, row, row.digest.items, "retimed", cause)


def drop_when_active(desk: Desk, user_id: str, cause: str) -> None:
    """The user is in the app: what was gathered under a rule that says so is dropped."""
    drop_digests(desk, DropDigests(cause, *of_user(user_id), user_id, desk.now))


def drop_digests(desk: Desk, work: DropDigests) -> None:
    walk = Walk(desk.state.digests, work.start, work.end)
    for key, row in walk:
        rule = _rule_of(desk.policy, row)
        if rule is None or not rule.drop_when_active or row.digest.first_ms > work.at_ms:
            continue
        walk.spend(row.digest.size, len(row.digest.items))
        desk.state.schedule.delete(row.due)
        desk.state.digests.delete(key)
        _each(desk, row, row.digest.items, "dropped", work.cause)
    if not walk.is_over:
        go_on_later(desk.state.schedule, desk.now, work, walk.at)


# --- items, each by itself ---


def _each(desk: Desk, row: Gathering, items: Sequence[DigestItem], what: ItemWork, cause: str) -> None:
    """At once if they are few; else each has a row of the schedule: together they may be more than a batch can hold."""
    name = digest_key(row.user_id, row.digest.rule, row.digest.key, row.digest.channel)
    for number, item in enumerate(items):
        key = notification_key(row.user_id, item.notification_id)
        if len(items) <= _AT_ONCE:
            _let_go(desk, key, name, what, cause)
            continue
        detail = msgspec.json.encode((what, cause, name.decode())).decode()
        desk.state.schedule.at(desk.now, Due("item", row.user_id, number.to_bytes(2, "big") + key, detail))


def wake_item(desk: Desk, due: Due) -> None:
    what, cause, name = _item_work(due)
    _let_go(desk, due.subject[2:], name.encode(), what, cause)


def _item_work(due: Due) -> tuple[ItemWork, str, str]:
    return msgspec.json.decode(due.detail, type=tuple[ItemWork, str, str])


def _let_go(desk: Desk, key: bytes, name: bytes, what: ItemWork, cause: str) -> None:
    """What became of a digest, for one of its items that still waits there."""
    case = Case.load(desk, key, cause)
    if case is None:
        return
    index = next((i for i, p in enumerate(case.parts) if p.wait == "digest" and p.waits_for == name), None)
    if index is None:
        return
    case.trail = []
    if what != "single" and (stop := called_off(case)) is not None:
        end_waits(case, *stop)
        return
    case.trail = []
    if what == "single":
        case.parts[index] = replace(case.unwait(index), undigested=True)
        judge_again(case, index)
    elif what == "dropped":
        case.end_part(index, "suppressed", "active_in_app")
    elif what == "too_large" or what == "permanent":
        case.end_part(index, "failed", what)
    elif (digest := desk.state.digests.get(name)) is not None:
        due_ms = due_ms_of(digest.due)
        if case.parts[index].until_ms != due_ms:
            case.parts[index] = replace(case.parts[index], until_ms=due_ms)
            case.tell("held", case.parts[index].channel, "digest", due=rfc3339(due_ms))


def _waiting(desk: Desk, row: Gathering, cause: str) -> dict[str, _Waiting]:
    """The items that still wait in the digest, by notification."""
    found: dict[str, _Waiting] = {}
    named = (row.user_id, row.digest.rule, row.digest.key, row.digest.channel)
    names = (digest_key(*named), plain_digest_key(*named))
    for item in row.digest.items:
        case = Case.load(desk, notification_key(row.user_id, item.notification_id), cause)
        for index, part in enumerate(case.parts if case is not None else ()):
            if case is not None and part.wait == "digest" and part.waits_for in names:
                found[item.notification_id] = case, index
    return found


def _still_wanted(case: Case, index: int) -> bool:
    """Whether it was not cancelled, has not expired and is not opted out of; else that is its end."""
    channel = case.parts[index].channel
    if (stop := stop_of(case)) is not None:
        case.end_part(index, *stop)
        return False
    recipient, category = case.recipient, case.rule.category
    wanted = judge_preference(recipient.preferences, case.rule, case.facts.event_type, channel)
    consented = judge_consent(recipient.consent(channel, category.name), category, channel)
    case.trail.append(("preference", wanted.allowed, wanted.by))
    if wanted.allowed and consented.allowed:
        return True
    if wanted.allowed:
        case.trail.append(("consent", False, consented.by))
    case.end_part(index, "suppressed", "no_consent" if wanted.allowed else "opted_out")
    return False


def _rule_of(policy: Policy, row: Gathering) -> DigestRule | None:
    """The policy's rule of that name, or an event type's own; None if the policy in force has it no more."""
    named = policy.digests.get(row.digest.rule)
    if named is not None or not row.digest.items:
        return named
    own = policy.rule_of(row.digest.items[0].event_type).digest
    return own if own is not None and own.name == row.digest.rule else None


def _say_once(
    desk: Desk,
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
    cases = [alive[item.notification_id] for item in outcome.items]
    for case, index in cases:
        case.end_part(index, "aggregated", into=name)
    items = _items(outcome.items, [case for case, _ in cases])
    one = _notification(desk, row, rule, outcome, items, [case.facts for case, _ in cases], name, due_ms)
    case = Case.new(desk, notification_key(row.user_id, name), one, cause)
    case.tell("accepted")
    channels = desk.catalog.channels_of_template(rule.template)
    if not channels:
        case.trail.append(("template", False, rule.template))
        case.tell("failed", None, "bad_template")
    elif row.digest.channel not in channels:
        case.trail.append(("channels", False, "template"))
        case.tell("suppressed", None, "no_channel")
    else:
        begin(case, row.digest.channel, undigested=True)


def _notification(
    desk: Desk,
    row: Gathering,
    rule: DigestRule,
    outcome: Aggregate,
    items: list[Item],
    of: list[Facts],
    name: str,
    due_ms: int,
) -> Notification:
    policy = desk.policy
    template = desk.catalog.template(rule.template)
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
        policy_version=desk.catalog.policy_version,
        collapse_key=None,
        replay_id=None,
        bulk=all(facts.bulk for facts in of),
        created_ms=desk.now,
        accepted_ms=desk.now,
        recorded_ms=due_ms,
        expires_ms=desk.now + policy.rule_of(outcome.event_type).expires_after_ms,
    )
    request = Request(
        user_id=user_id, event_type=outcome.event_type, template_id=rule.template, notification_id=name, source=SOURCE
    )
    return Notification(
        facts=facts,
        position=f"digest:{desk.state.partition}:{due_ms}",
        content=b"",
        until_ms=desk.now + max(policy.dedup_keys_ms, RECEIPTS_MS),
        request=msgspec.json.encode(request),
        items=msgspec.json.encode(items),
        after_erasure=desk.state.known.forgetting(user_id),
    )


def _items(items: Sequence[DigestItem], cases: Sequence[Case]) -> list[Item]:
    """As templates see them, oldest first; the newest carry their data, as far as there is room."""
    data: list[bytes] = []

    def sizes() -> Iterator[int]:
        for case in reversed(cases):  # (no more is decoded than fits)
            data.append(msgspec.json.encode(case.data()))
            yield len(data[-1])

    whole = carried(sizes())
    shown = [msgspec.Raw(each) for each in reversed(data[:whole])]
    cut = [_shown(item) for item in items[: len(items) - whole]]
    return [replace(item, truncated=True) for item in cut] + [
        replace(_shown(item), data=each) for item, each in zip(items[len(items) - whole :], shown, strict=True)
    ]


def _shown(item: DigestItem) -> Item:
    return Item(notification_id=item.notification_id, event_type=item.event_type, at=rfc3339(item.at))
