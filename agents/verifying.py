"""Verifying: a code to the address that a user claims, and what becomes of it when the user gives the code back.

All of a user's requests and checks are decided here, in the order of the log: gateways are many and remember nothing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.broadcasting import command
from agents.case import Case
from agents.desk import Desk
from agents.intakes import position_of
from agents.judging import begin
from agents.placement import check_place
from agents.stopping import stop_of
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


def take_verification(desk: Desk, record: LogRecord) -> None:
    """Takes one record of tocsin_verifications. Raises Invalid with the field."""
    assert record.value is not None
    said = read_verification(record.value)
    check_place(record, said.user_id, desk.partitions)
    key = said.user_id.encode()
    row = desk.state.verifications.get(key) or NO_VERIFICATION
    profile = desk.state.known.profile(said.user_id)
    if profile is None or said.id in row.answers:
        return  # of nobody (any more) nothing is kept; or it was read before
    row, answer = (
        _requested(desk, record, said, profile, row)
        if isinstance(said, CodeRequest)
        else _checked(desk, said, profile, row)
    )
    desk.state.verifications.put(key, answered(row, said.id, answer, desk.now))


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
    desk: Desk, record: LogRecord, said: CodeRequest, profile: Profile, row: Verification
) -> tuple[Verification, Answer]:
    address, verified = _address(profile, said.channel)
    if address is None:
        return row, Answer("no_address")
    if not same(mark_of(desk.secret, said.user_id, said.channel, address, said.id), said.address):
        return row, Answer("changed")
    if verified:
        return row, Answer("verified")
    if (next_ms := row.next_ms(desk.catalog.bounds.codes, desk.now)) is not None:
        return row, Answer("limited", next_ms)
    if _send(desk, record, said):
        challenge = Challenge(said.id, said.address, desk.now + CODE_MS)
        return asked(row, said.channel, challenge, desk.now), Answer("sent")
    listed = desk.state.known.is_suppressed(said.channel, address)
    return asked(row, said.channel, None, desk.now), Answer("suppression_list" if listed else "no_provider")


def _checked(desk: Desk, said: CodeCheck, profile: Profile, row: Verification) -> tuple[Verification, Answer]:
    address, verified = _address(profile, said.channel)
    if verified:
        return row, Answer("verified")
    challenge = row.challenge(said.channel, desk.now)
    if address is None or challenge is None:
        return row, Answer("void")
    whose = (desk.secret, said.user_id, said.channel)
    if not same(mark_of(*whose, address, challenge.name), challenge.mark):
        return row, Answer("void")  # the code was for the address before
    expected = proof_of(*whose, code_of(*whose, address, challenge.name), said.id)
    right = same(expected, said.proof)
    if right:
        verify = AddressVerify(
            id=derived_id("verify", said.id),
            at=rfc3339(desk.now),
            user_id=said.user_id,
            channel=said.channel,
            address=address,
        )
        command(desk, verify)
    return tried(row, said.channel, challenge, right=right)


def _send(desk: Desk, record: LogRecord, said: CodeRequest) -> bool:
    """Queues the message as any other, with its own life; the sender renders the code. False: it has ended already."""
    key = notification_key(said.user_id, said.id)
    case = Case.new(desk, key, _notification(desk, record, said), position_of(record))
    case.tell("accepted")
    if (stop := stop_of(case)) is not None:
        status, reason = stop
        case.tell(status, None, reason)
        return False
    return bool(case.parts[begin(case, said.channel, undigested=True)].sends)


def _notification(desk: Desk, record: LogRecord, said: CodeRequest) -> Notification:
    rule = desk.policy.verification
    named = rule.template
    template_id = named if named and said.channel in desk.catalog.channels_of_template(named) else None
    template = desk.catalog.template(template_id) if template_id is not None else None
    facts = Facts(
        notification_id=said.id,
        user_id=said.user_id,
        event_type=VERIFY,
        category=rule.category.name,
        priority=rule.priority,
        source=SOURCE,
        campaign_id=None,
        template_id=template_id,
        template_version=template.version if template is not None else None,
        variant=choose_variant(template.template, said.user_id) if template is not None else None,
        policy_version=desk.catalog.policy_version,
        collapse_key=VERIFY,
        replay_id=None,
        bulk=False,
        created_ms=record.timestamp,
        accepted_ms=desk.now,
        recorded_ms=record.timestamp,
        expires_ms=desk.now + CODE_MS,
    )
    request = Request(user_id=said.user_id, event_type=VERIFY, notification_id=said.id, source=SOURCE)
    return Notification(
        facts=facts,
        position=position_of(record),
        content=b"",
        until_ms=desk.now + RECEIPTS_MS,
        request=msgspec.json.encode(request),
        after_erasure=desk.state.known.forgetting(said.user_id),
    )


def _address(profile: Profile, channel: VerifiedChannel) -> tuple[str | None, bool]:
    """The address, and whether it is verified."""
    if channel == "email":
        return profile.email, profile.email_verified
    return profile.phone, profile.phone_verified
