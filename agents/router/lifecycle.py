"""The lifecycle events that the router emits."""

from typing import Any

from agents.router.context import RouterContext
from app.domain.ids import event_id
from app.domain.tracing import decision_span
from schemas.lifecycle import LifecycleEvent
from schemas.words import Channel, Provider, Status
from tables.notifications import Facts


def emit_event(
    context: RouterContext,
    facts: Facts,
    status: Status,
    cause: str,
    *,
    channel: Channel | None = None,
    send_id: str | None = None,
    reason: str | None = None,
    provider: Provider | None = None,
    provider_message_id: str | None = None,
    happened: str | None = None,
    detail: dict[str, Any] | None = None,
    policy_version: int | None = None,
) -> None:
    """Tells what was decided now; or what ``happened`` (RFC 3339), in the same bytes however often it is read.

    ``cause``: the record's position, the receipt's or command's id, or the due time of the wait that ended.
    """
    subject = send_id or f"{facts.notification_id}\n{facts.user_id}\n{channel or ''}"
    event = LifecycleEvent(
        event_id=event_id(subject, status, None, cause),
        notification_id=facts.notification_id,
        user_id=facts.user_id,
        send_id=send_id,
        status=status,
        reason=reason,
        channel=channel,
        provider=provider,
        event_type=facts.event_type,
        category=facts.category,
        priority=facts.priority,
        source=facts.source,
        campaign_id=facts.campaign_id,
        template_id=facts.template_id,
        template_version=facts.template_version,
        variant=facts.variant,
        policy_version=facts.policy_version if policy_version is None else policy_version,
        provider_message_id=provider_message_id,
        replay_id=facts.replay_id,
        occurred_at=happened or context.now_text,
        detail=detail,
    )
    context.out.emit(event)
    if facts.trace is not None and (span := decision_span(facts.trace, event, context.now)) is not None:
        context.out.spans.append(span)
