"""Sends a code to the address that a user claims, and checks the code that the user gives back.

All of a user's requests and checks are decided here, in the order of the log: gateways are many and remember nothing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.router.broadcasts import command
from agents.router.context import RouterContext
from agents.router.evaluate import begin
from agents.router.notification_record import NotificationRecord
from agents.router.stop import stop_of
from agents.shared.placement import check_place
from agents.shared.subscriptions import position_of
from app.domain.codes import code_of, mark_of, proof_of, same
from app.domain.ids import derived_id
from app.domain.rendering import choose_variant
from app.domain.verification import CODE_MS, NO_VERIFICATION, Answer, Challenge, Verification, answered, asked, tried
from app.ports import LogRecord
from schemas.commands import AddressVerify
from schemas.instants import rfc3339
from schemas.requests import Request
from schemas.verifications import VERIFY, CodeCheck, CodeRequest, VerifiedChannel, read_verification
from tables.notifications import Facts, Notification, notification_key
from tables.profiles import NOBODY, Profile
from tables.routed import RECEIPTS_MS
from tables.router import RouterState

#: The source of the message, and its collapse key: of two that wait, the older is void.
SOURCE = "tocsin"


def take_verification(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of tocsin_verifications. Raises Invalid with the field."""
    assert record.value is not None
    message = read_verification(record.value)
    check_place(record, message.user_id, context.partitions)
    key = message.user_id.encode()
    row = context.state.verifications.get(key) or NO_VERIFICATION
    profile = context.state.known.profile(message.user_id)
    if profile is None or message.id in row.answers:
        return  # of nobody (any more) nothing is kept; or it was read before
    row, answer = (
        _requested(context, record, message, profile, row)
        if isinstance(message, CodeRequest)
        else _checked(context, message, profile, row)
    )
    context.state.verifications.put(key, answered(row, message.id, answer, context.now))


def verification_view(
    state: RouterState, user_id: str, params: Mapping[str, str], most: int, now: int
) -> dict[str, Any]:
    """What the gateway needs of ``channel``: its address, whether a code can be tried, when the next may be asked for
    (Unix ms), and the answer to the call ``id``."""
    channel: VerifiedChannel = "email" if params.get("channel") == "email" else "sms"
    row = state.verifications.get(user_id.encode()) or NO_VERIFICATION
    address, verified = _address(state.known.profile(user_id) or NOBODY, channel)
    answer = row.answers.get(params.get("id", ""))
    return {
        "address": address,
        "verified": verified,
        "pending": row.challenge(channel, now) is not None,
        "next_ms": row.next_ms(most, now),
        "outcome": None if answer is None else answer.outcome,
        "number": 0 if answer is None else answer.number,
    }


def _requested(
    context: RouterContext, record: LogRecord, message: CodeRequest, profile: Profile, row: Verification
) -> tuple[Verification, Answer]:
    address, verified = _address(profile, message.channel)
    if address is None:
        return row, Answer("no_address")
    if not same(mark_of(context.secret, message.user_id, message.channel, address, message.id), message.address):
        return row, Answer("changed")
    if verified:
        return row, Answer("verified")
    if (next_ms := row.next_ms(context.catalog.bounds.codes, context.now)) is not None:
        return row, Answer("limited", next_ms)
    if _send(context, record, message):
        challenge = Challenge(message.id, message.address, context.now + CODE_MS)
        return asked(row, message.channel, challenge, context.now), Answer("sent")
    listed = context.state.known.is_suppressed(message.channel, address)
    return asked(row, message.channel, None, context.now), Answer("suppression_list" if listed else "no_provider")


def _checked(
    context: RouterContext, message: CodeCheck, profile: Profile, row: Verification
) -> tuple[Verification, Answer]:
    address, verified = _address(profile, message.channel)
    if verified:
        return row, Answer("verified")
    challenge = row.challenge(message.channel, context.now)
    if address is None or challenge is None:
        return row, Answer("void")
    whose = (context.secret, message.user_id, message.channel)
    if not same(mark_of(*whose, address, challenge.name), challenge.mark):
        return row, Answer("void")  # the code was for the address before
    expected = proof_of(*whose, code_of(*whose, address, challenge.name), message.id)
    right = same(expected, message.proof)
    if right:
        verify = AddressVerify(
            id=derived_id("verify", message.id),
            at=rfc3339(context.now),
            user_id=message.user_id,
            channel=message.channel,
            address=address,
        )
        command(context, verify)
    return tried(row, message.channel, challenge, right=right)


def _send(context: RouterContext, record: LogRecord, message: CodeRequest) -> bool:
    """Queues the message as any other, with its own life; the sender renders the code. False: it has ended already."""
    key = notification_key(message.user_id, message.id)
    notification = NotificationRecord.new(context, key, _notification(context, record, message), position_of(record))
    notification.emit("accepted")
    if (stop := stop_of(notification)) is not None:
        status, reason = stop
        notification.emit(status, None, reason)
        return False
    return bool(notification.parts[begin(notification, message.channel, undigested=True)].sends)


def _notification(context: RouterContext, record: LogRecord, message: CodeRequest) -> Notification:
    rule = context.policy.verification
    named = rule.template
    template_id = named if named and message.channel in context.catalog.channels_of_template(named) else None
    template = context.catalog.template(template_id) if template_id is not None else None
    facts = Facts(
        notification_id=message.id,
        user_id=message.user_id,
        event_type=VERIFY,
        category=rule.category.name,
        priority=rule.priority,
        source=SOURCE,
        campaign_id=None,
        template_id=template_id,
        template_version=template.version if template is not None else None,
        variant=choose_variant(template.template, message.user_id) if template is not None else None,
        policy_version=context.catalog.policy_version,
        collapse_key=VERIFY,
        replay_id=None,
        bulk=False,
        created_ms=record.timestamp,
        accepted_ms=context.now,
        recorded_ms=record.timestamp,
        expires_ms=context.now + CODE_MS,
    )
    request = Request(user_id=message.user_id, event_type=VERIFY, notification_id=message.id, source=SOURCE)
    return Notification(
        facts=facts,
        position=position_of(record),
        content=b"",
        until_ms=context.now + RECEIPTS_MS,
        request=msgspec.json.encode(request),
        after_erasure=context.state.known.forgetting(message.user_id),
    )


def _address(profile: Profile, channel: VerifiedChannel) -> tuple[str | None, bool]:
    """The address, and whether it is verified."""
    if channel == "email":
        return profile.email, profile.email_verified
    return profile.phone, profile.phone_verified
