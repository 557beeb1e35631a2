"""What a request asks for, given its event type's rule: its template, and when it was made and expires."""

from app.domain.policy import EventRule
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.requests import Request


def template_of(request: Request, rule: EventRule) -> str | None:
    """None: it has content of its own. Raises Invalid where there is neither."""
    template_id = None if request.content is not None else request.template_id or rule.template
    if template_id is None and request.content is None:
        raise Invalid("give template_id or content: the policy has no template for the event type", "template_id")
    return template_id


def created_at_ms(request: Request, recorded_ms: int) -> int:
    """Unix ms. ``recorded_ms``: its record's timestamp."""
    return recorded_ms if request.created_at is None else parse_ms(request.created_at)


def expires_ms(request: Request, rule: EventRule, created_ms: int, recorded_ms: int) -> int:
    """Unix ms. A ``send_at`` that was past when it was asked for means now, also for what counts from it."""
    if request.expires_at is not None:
        return parse_ms(request.expires_at)
    begins_ms = created_ms if request.send_at is None else max(parse_ms(request.send_at), recorded_ms)
    return begins_ms + rule.expires_after_ms
