"""What providers report: their requests are verified, and become receipts, opt-outs by SMS, or a count."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, get_args

import msgspec
import structlog
from aiohttp import web

from app.api.call import MAX_BODY_BYTES, Call
from app.api.callers import PUBLIC
from app.api.commands import publish_to_all
from app.api.connections import Connection
from app.api.problems import Problem, later, problem_of
from app.api.routes import Route
from app.domain.addresses import parse_phone
from app.domain.ids import derived_id, partition_of_send
from app.store.publisher import Outgoing
from app.webhooks.certificates import NotReached
from app.webhooks.doors import Webhooks
from app.webhooks.events import Event, InboundText, NoInterest, NotGenuine, OptOut, Posted, Report
from schemas.commands import SuppressionAdd, SuppressionRemove
from schemas.decode import Invalid
from schemas.instants import FIRST_MS, LAST_MS, rfc3339
from schemas.receipts import Receipt, encode_receipt, read_receipt
from schemas.topics import RECEIPTS
from schemas.words import Channel

log = structlog.get_logger(__name__)

Vendor = Literal["ses", "sendgrid", "twilio", "vonage"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)

#: What became of an event. ``unknown_send``: it names no send that could be ours.
Became = Literal["receipt", "unknown_send", "no_interest", "unreadable", "opted_out", "opted_in", "inbound_text"]
OUTCOMES: tuple[Became, ...] = get_args(Became)

#: SendGrid posts up to 768 KB of events at once; a message of SNS has at most 256 KiB, before it is quoted.
_LARGEST = 2 * MAX_BODY_BYTES
_CHANNELS: dict[Vendor, Channel] = {"ses": "email", "sendgrid": "email", "twilio": "sms", "vonage": "sms"}
_MAX_MESSAGE_ID = 1_000

Verify = Callable[[Webhooks, Posted, int], Awaitable[Sequence[Event]]]


async def post_ses(call: Call) -> web.Response:
    return await _take(call, "ses", Webhooks.from_ses)


async def post_sendgrid(call: Call) -> web.Response:
    return await _take(call, "sendgrid", Webhooks.from_sendgrid)


async def post_twilio(call: Call) -> web.Response:
    await _take(call, "twilio", Webhooks.from_twilio)
    # To an inbound message this means: no reply.
    return web.Response(text='<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml")


async def post_vonage(call: Call) -> web.Response:
    return await _take(call, "vonage", Webhooks.from_vonage)


async def _take(call: Call, vendor: Vendor, verify: Verify) -> web.Response:
    """Answers once the log has all of it. Raises Problem 403 for a request that isn't the vendor's, 400 for one that
    is, and can't be read, 503 where it can't be verified or recorded right now: vendors then send it again."""
    deps, request = call.deps, call.request
    url = deps.webhooks.url(request.raw_path, request.scheme, request.host)
    posted = Posted(url, request.headers, await call.body(_LARGEST))
    try:
        events = await verify(deps.webhooks, posted, deps.clock())
    except NotGenuine as error:
        log.warning("refused a webhook", provider=vendor, why=error.why)
        raise Problem(403, f"not accepted: {error.why}") from error
    except NotReached as error:
        log.warning("can't verify a webhook yet", provider=vendor, why=str(error))
        raise later("the vendor's certificate or subscription address can't be reached") from error
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    if isinstance(request.protocol, Connection):
        request.protocol.trust()
    became, receipts, commands = _recorded(call, vendor, events)
    if receipts:
        await deps.publisher.publish_many(receipts)
    for command in commands:
        if await publish_to_all(call, command):
            raise later("some partitions of the log haven't acknowledged the opt-out")
    for outcome in became:
        deps.counting.reported(vendor, outcome)
    return web.Response()


def _recorded(
    call: Call, vendor: Vendor, events: Sequence[Event]
) -> tuple[Sequence[Became], Sequence[Outgoing], Sequence[bytes]]:
    """What became of each event; the receipts, and the commands for all partitions."""
    became: list[Became] = []
    receipts: list[Outgoing] = []
    commands: list[bytes] = []
    for event in events:
        match event:
            case Report():
                receipt = _receipt(call, vendor, event)
                became.append("unknown_send" if receipt is None else "receipt")
                receipts += [] if receipt is None else [receipt]
            case InboundText():
                outcome, command = _inbound(call, vendor, event)
                became.append(outcome)
                commands += [] if command is None else [command]
            case NoInterest():
                became.append("no_interest" if event.is_readable else "unreadable")
    return became, receipts, commands


def _receipt(call: Call, vendor: Vendor, report: Report) -> Outgoing | None:
    """None where it is of no send that could be ours. Named by the vendor's event: reported again, it is the same."""
    partition = partition_of_send(report.send_id or "")
    if partition is None or partition >= call.deps.partitions:
        return None
    at_ms = report.at_ms if report.at_ms is not None and FIRST_MS <= report.at_ms <= LAST_MS else call.deps.clock()
    message_id = report.provider_message_id
    value = encode_receipt(
        Receipt(
            id=derived_id("webhook", vendor, report.event_id),
            send_id=report.send_id,
            status=report.status,
            reason=report.reason,
            channel=_CHANNELS[vendor],
            provider=vendor,
            provider_message_id=message_id[:_MAX_MESSAGE_ID] if message_id else None,
            occurred_at=rfc3339(at_ms),
            detail={"machine": True} if report.is_machine else None,
        )
    )
    try:
        read_receipt(value)
    except Invalid:
        return None
    return Outgoing(RECEIPTS, None, value, partition)


def _inbound(call: Call, vendor: Vendor, text: InboundText) -> tuple[Became, bytes | None]:
    """A STOP puts the number on the suppression list, whoever has it, and a START takes it off."""
    number = parse_phone(text.number)
    if text.opt_out is None or number is None:
        log.info("an SMS came in that is no opt-out: its text is not kept", provider=vendor)
        return "inbound_text", None
    kind, became = _OPTED[text.opt_out]
    name, at = derived_id("webhook", vendor, text.event_id), rfc3339(call.deps.clock())
    command = kind(id=name, at=at, channel="sms", address=number, reason=text.opt_out)
    return became, msgspec.json.encode(command)


_OPTED: Mapping[OptOut, tuple[type[SuppressionAdd | SuppressionRemove], Became]] = {
    "stop": (SuppressionAdd, "opted_out"),
    "start": (SuppressionRemove, "opted_in"),
}


def _route(handler: Callable[[Call], Awaitable[web.Response]], vendor: Vendor, name: str, *takes: str) -> Route:
    return Route(
        "POST",
        f"/v1/webhooks/{vendor}",
        handler,
        PUBLIC,
        f"What {name} reports of sends; signed by it",
        {200: None},
        body=dict,
        takes=takes,
    )


_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"

ROUTES = (
    _route(post_ses, "ses", "Amazon SES", "text/plain", _JSON),
    _route(post_sendgrid, "sendgrid", "SendGrid", _JSON),
    _route(post_twilio, "twilio", "Twilio", _FORM),
    _route(post_vonage, "vonage", "Vonage", _JSON, _FORM),
)
