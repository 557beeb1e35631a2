"""The lifecycle events that the channels' roles emit, and the results that they report to the router."""

from collections.abc import Mapping
from typing import Any

from app.domain.ids import derived_id, event_id
from app.domain.out import Out
from app.domain.policy import Policy
from app.domain.service_level import is_within
from app.domain.tracing import decision_span
from schemas.instants import rfc3339
from schemas.lifecycle import LifecycleEvent
from schemas.results import CalledAddress, ResultStatus, SendResult, encode_result
from schemas.sends import Send
from schemas.topics import RESULTS
from schemas.words import Provider, Status


def emit(
    out: Out,
    send: Send,
    status: Status,
    now: int,
    cause: str,
    *,
    reason: str | None = None,
    provider: Provider | None = None,
    attempt: int | None = None,
    provider_message_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
    policy_version: int | None = None,
) -> None:
    """Writes a lifecycle event of the send. ``cause``: see ``event_id``. ``policy_version``: of the policy that decided
    it; None: the one that the send was queued by."""
    message = dict(detail or {})
    if send.device_id is not None:
        message["device_id"] = send.device_id
    if send.of is not None:
        message["of"] = send.of
    event = LifecycleEvent(
        event_id=event_id(send.send_id, status, attempt, cause),
        notification_id=send.notification_id,
        user_id=send.user_id,
        send_id=send.send_id,
        status=status,
        reason=reason,
        channel=send.channel,
        provider=provider,
        attempt=attempt,
        event_type=send.event_type,
        category=send.category,
        priority=send.priority,
        source=send.source,
        campaign_id=send.campaign_id,
        template_id=send.template_id,
        template_version=send.template_version,
        variant=send.variant,
        policy_version=send.policy_version if policy_version is None else policy_version,
        provider_message_id=provider_message_id,
        replay_id=send.replay_id,
        occurred_at=rfc3339(now),
        detail=message or None,
    )
    out.emit(event)
    if send.trace is not None and (span := decision_span(send.trace, event, now)) is not None:
        out.spans.append(span)


def report(
    out: Out,
    send: Send,
    status: ResultStatus,
    now: int,
    *,
    reason: str | None = None,
    provider: Provider | None = None,
    provider_message_id: str | None = None,
    address: CalledAddress | None = None,
) -> None:
    """Reports to the router how the send ended, once. ``address``: the one that was called, where it is to go."""
    result = SendResult(
        id=derived_id("settled", send.send_id, status),
        at=now,
        status=status,
        user_id=send.user_id,
        notification_id=send.notification_id,
        send_id=send.send_id,
        channel=send.channel,
        reason=reason,
        provider=provider,
        provider_message_id=provider_message_id,
        address=address,
        template_version=send.template_version,
        variant=send.variant,
    )
    out.send(RESULTS, send.user_id.encode(), encode_result(result))


def measure(
    out: Out, policy: Policy, send: Send, status: ResultStatus, now: int, waited_until: int | None = None
) -> None:
    """Counts an end for the service level of the send's category. ``waited_until``: when its latest wait for quiet
    hours ended in the channel's role, Unix ms."""
    target_ms = policy.target_ms(send.category, send.priority)
    since = max(send.accepted_at, send.waited_until or 0, waited_until or 0)
    within = is_within(status, now - since, target_ms)
    if within is not None:
        out.tally("slo", send.category, send.priority, "true" if within else "false")
