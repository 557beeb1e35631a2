"""What would come of a record that is put back now, by the same readers and rules as the roles'."""

from app.api.commands import check_user_facts
from app.domain.catalog import Catalog
from app.domain.placement import no_key, receipt_partition, user_key
from app.domain.redrive import Original
from app.domain.requested import created_at_ms, expires_ms, template_of
from app.store.redriver import Would
from schemas.cloudevents import read_event
from schemas.commands import read_command
from schemas.decode import Invalid
from schemas.receipts import read_receipt
from schemas.topics import COMMANDS, RECEIPTS


def would_become(original: Original, catalog: Catalog, partitions: int, now_ms: int) -> Would:
    """``dead``: it would be a dead letter again. ``expired``: a request that would be taken, and is too late for
    anybody. All else is taken: ``accepted``."""
    try:
        return checked_would_become(original, catalog, partitions, now_ms)
    except Invalid:
        return "dead"


def checked_would_become(original: Original, catalog: Catalog, partitions: int, now_ms: int) -> Would:
    """As ``would_become``; raises Invalid with the field where it would be a dead letter."""
    key, value, _ = original.contents
    assert value is not None
    match original.topic:
        case topic if topic == COMMANDS:
            command = read_command(value)
            if command.user_id is None:
                no_key(key)
            else:
                user_key(key, command.user_id)
            check_user_facts(command, catalog.bounds)
            return "accepted"
        case topic if topic == RECEIPTS:
            receipt_partition(key, read_receipt(value), partitions)
            return "accepted"
        case _:
            return _request(original, value, catalog, now_ms)


def _request(original: Original, value: bytes, catalog: Catalog, now_ms: int) -> Would:
    key, _, headers = original.contents
    recorded_ms = original.timestamp_ms
    request, _ = read_event(value, headers, recorded_ms, catalog.bounds.link_schemes, key)
    user_key(key, request.user_id)
    rule = catalog.policy.rule_of(request.event_type)
    template_of(request, rule)
    expires = expires_ms(request, rule, created_at_ms(request, recorded_ms), recorded_ms)
    return "accepted" if now_ms < expires else "expired"
