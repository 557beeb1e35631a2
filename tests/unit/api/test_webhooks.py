"""``/v1/webhooks``: what is signed becomes receipts and opt-outs on the log; what isn't changes nothing."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from app.api.refusals import Counting
from app.api.webhooks import OUTCOMES, VENDORS
from app.domain.ids import partition_of_send
from app.store.publisher import Outgoing, PublishError
from app.webhooks.certificates import Certificates
from app.webhooks.ses import events_of
from schemas.commands import SuppressionAdd, SuppressionRemove, read_command
from schemas.instants import rfc3339
from schemas.receipts import Receipt, read_receipt
from schemas.topics import COMMANDS, RECEIPTS
from tests.hostile import texts
from tests.unit.api import test_hostile_calls as hostile
from tests.unit.webhooks import signing
from tests.unit.webhooks.signing import NOW, SEND_ID, TOPIC, sendgrid_event, ses_event, vonage_message

PARTITIONS = 4


class Topics:
    """The log. ``fails``: so many publications fail first."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.fails = 0

    async def publish_many(self, records: list[Outgoing]) -> list[tuple[int, int]]:
        if self.fails:
            self.fails -= 1
            raise PublishError("not acknowledged")
        self.records += records
        return [(record.partition or 0, 0) for record in records]

    async def publish_each(self, records: list[Outgoing]) -> list[tuple[int, int] | None]:
        if self.fails:
            self.fails -= 1
            return [None, *await self.publish_many_but_first(records)]
        return list(await self.publish_many(records))

    async def publish_many_but_first(self, records: list[Outgoing]) -> list[tuple[int, int] | None]:
        self.records += records[1:]
        return [(record.partition or 0, 0) for record in records[1:]]

    @property
    def receipts(self) -> list[Receipt]:
        return [read_receipt(record.value or b"") for record in self.records if record.topic == RECEIPTS]

    @property
    def commands(self) -> list[Any]:
        return [read_command(record.value or b"") for record in self.records if record.topic == COMMANDS]


class Vendors:
    """Calls the gateway as the vendors do."""

    def __init__(self, client: Any, log: Topics, counted: list[tuple[str, str]]) -> None:
        self.client, self.log, self.counted = client, log, counted

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self.client.post(URL(path, encoded=True), data=io.BytesIO(body), headers=headers) as response:
            return response.status, await response.read()

    async def sendgrid(self, *events: Any) -> int:
        return (await self.post("/v1/webhooks/sendgrid", *signing.sendgrid(list(events))))[0]

    async def twilio(self, fields: Any, query: str = f"?attempt=1&send_id={SEND_ID}") -> tuple[int, bytes]:
        body, headers, target = signing.twilio(fields, query)
        return await self.post(target, body, headers)

    async def vonage(self, said: Any) -> int:
        return (await self.post("/v1/webhooks/vonage", *signing.vonage(said)))[0]

    async def ses(self, said: Any) -> tuple[int, bytes]:
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": said["Type"]}
        return await self.post("/v1/webhooks/ses", json.dumps(said).encode(), headers)


@asynccontextmanager
async def gateway(**webhooks: Any) -> AsyncIterator[Vendors]:
    counted: list[tuple[str, str]] = []
    counting = Counting(reported=lambda *event: counted.append(event))
    log = Topics()
    more: dict[str, Any] = {"counting": counting, "clock": lambda: NOW, "publisher": log, "partitions": PARTITIONS}
    async with hostile.gateway(signing.set_up(**webhooks), **more) as (client, _):
        yield Vendors(client, log, counted)


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    async with gateway() as vendors:
        yield vendors


@pytest.fixture
async def amazon(tmp_path: Path) -> AsyncIterator[Any]:
    """Where SNS's certificate lies, and subscriptions are confirmed."""
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(body=signing.sns_signer().pem if request.path.endswith(".pem") else b"<Confirmed/>")

    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(signing.sns_signer().ca_pem)
    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        given = signing.ses_settings(webhook_cert_hosts=("127.0.0.1",), ca_file=ca_file)
        async with gateway(ses=given, certificates=Certificates(session, ca_file, lambda: NOW)) as vendors:
            yield vendors, str(server.make_url("/")), asked


async def test_a_report_becomes_a_receipt_in_its_sends_partition(vendors: Vendors) -> None:
    assert await vendors.sendgrid(sendgrid_event("bounce", type="bounce")) == 200

    [record] = vendors.log.records
    assert (record.topic, record.key, record.partition) == (RECEIPTS, None, partition_of_send(SEND_ID))
    [receipt] = vendors.log.receipts
    assert (receipt.send_id, receipt.status, receipt.reason) == (SEND_ID, "bounced", "hard")
    assert (receipt.channel, receipt.provider, receipt.user_id) == ("email", "sendgrid", None)
    assert receipt.occurred_at == rfc3339(NOW - 5_000)
    assert vendors.counted == [("sendgrid", "receipt")]


async def test_every_vendor_reports_by_its_own_signature(vendors: Vendors) -> None:
    assert await vendors.sendgrid(sendgrid_event("delivered")) == 200
    status, body = await vendors.twilio(signing.twilio_status("delivered"))
    assert (status, body) == (200, b'<?xml version="1.0" encoding="UTF-8"?><Response/>')
    assert await vendors.vonage(vonage_message("delivered")) == 200

    assert [(r.provider, r.channel, r.status) for r in vendors.log.receipts] == [
        ("sendgrid", "email", "delivered"),
        ("twilio", "sms", "delivered"),
        ("vonage", "sms", "delivered"),
    ]


async def test_the_same_event_again_is_the_same_receipt(vendors: Vendors) -> None:
    for _ in range(2):
        await vendors.sendgrid(sendgrid_event("delivered"))
        await vendors.twilio(signing.twilio_status("delivered"))
        await vendors.vonage(vonage_message("delivered"))

    assert len({receipt.id for receipt in vendors.log.receipts}) == 3
    assert len(vendors.log.receipts) == 6


async def test_vendors_that_use_the_same_name_for_an_event_are_told_apart(vendors: Vendors) -> None:
    name = "SM1\ndelivered"
    await vendors.sendgrid(sendgrid_event("delivered", sg_event_id=name))
    await vendors.twilio(signing.twilio_status("delivered"))

    assert len({receipt.id for receipt in vendors.log.receipts}) == 2


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"a=b", b"\xff", b"[" * 5_000, b"x" * 300_000])
async def test_what_is_not_signed_is_a_403_and_nothing_is_written(vendors: Vendors, vendor: str, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "?"):
        status, answer = await vendors.post(f"/v1/webhooks/{vendor}", body, {"Content-Type": kind})
        assert status == 403
        assert json.loads(answer)["status"] == 403
    assert vendors.log.records == []
    assert vendors.counted == []


async def test_a_signature_over_other_bytes_is_a_403_and_nothing_is_written(vendors: Vendors) -> None:
    for path, body, headers in (
        ("/v1/webhooks/sendgrid", *signing.sendgrid([sendgrid_event("delivered")])),
        ("/v1/webhooks/vonage", *signing.vonage(vonage_message("delivered"))),
    ):
        assert (await vendors.post(path, body, headers))[0] == 200
        written = len(vendors.log.records)
        assert (await vendors.post(path, body.replace(b"delivered", b"failed   "), headers))[0] == 403
        assert (await vendors.post(path, body + b" ", headers))[0] == 403
        assert len(vendors.log.records) == written
    body, headers, target = signing.twilio(signing.twilio_status("delivered"))
    other = "0b6a5e5c-6f0e-8d7c-9f5e-7b1d2a3c0001"
    assert (await vendors.post(target.replace(SEND_ID, other), body, headers))[0] == 403


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_vendor_that_is_not_set_up_is_a_403(vendor: str) -> None:
    async with gateway(sendgrid=None, twilio=None, vonage=None) as vendors:
        status, answer = await vendors.post(f"/v1/webhooks/{vendor}", b"{}", {})

    assert status == 403
    assert f"providers.{vendor}" in json.loads(answer)["detail"]


async def test_a_body_that_is_larger_than_any_vendors_is_not_read(vendors: Vendors) -> None:
    for vendor in VENDORS:
        assert (await vendors.post(f"/v1/webhooks/{vendor}", b"x" * (2 * 1024 * 1024 + 1), {}))[0] == 413


async def test_a_signed_body_that_cannot_be_read_is_a_400(vendors: Vendors) -> None:
    for body in (b"", b"{", b"{}", b"\xff", b"[" * 5_000):
        assert (await vendors.post("/v1/webhooks/sendgrid", *signing.sendgrid(body)))[0] == 400
    assert vendors.log.records == []


@pytest.mark.parametrize(
    "send_id", [None, "", "x", 7, "0b6a5e5c-6f0e-8d7c-9f5e-7b1d2a3cffff", "0b6a5e5c-6f0e-8d7c-9f5e-7b1d2a3c0004"]
)
async def test_a_report_of_no_send_of_ours_is_counted_and_not_written(vendors: Vendors, send_id: Any) -> None:
    assert await vendors.sendgrid(sendgrid_event("delivered", send_id=send_id)) == 200

    assert vendors.log.records == []
    assert vendors.counted == [("sendgrid", "unknown_send")]


async def test_events_of_no_interest_are_counted(vendors: Vendors) -> None:
    assert await vendors.sendgrid(sendgrid_event("processed"), sendgrid_event("delivered"), 7) == 200
    await vendors.twilio(signing.twilio_status("sent"))

    assert vendors.counted == [
        ("sendgrid", "no_interest"),
        ("sendgrid", "receipt"),
        ("sendgrid", "unreadable"),
        ("twilio", "no_interest"),
    ]
    assert {outcome for _, outcome in vendors.counted} <= set(OUTCOMES)


async def test_an_impossible_time_of_an_event_counts_as_now(vendors: Vendors) -> None:
    await vendors.sendgrid(sendgrid_event("delivered", timestamp=999_999_999_999))

    assert vendors.log.receipts[0].occurred_at == rfc3339(NOW)


async def test_an_open_by_a_machine_is_marked_in_the_detail(vendors: Vendors) -> None:
    await vendors.sendgrid(sendgrid_event("open", sg_machine_open=True))

    assert vendors.log.receipts[0].detail == {"machine": True}


@pytest.mark.parametrize(("said", "kind"), [("STOP", SuppressionAdd), ("start", SuppressionRemove)])
async def test_a_text_that_opts_out_or_in_is_a_command_for_every_partition(
    vendors: Vendors, said: str, kind: Any
) -> None:
    await vendors.twilio(signing.twilio_text(said), "")
    await vendors.vonage({"msisdn": "14155550100", "messageId": "0B", "text": said})

    assert [record.partition for record in vendors.log.records] == [*range(PARTITIONS)] * 2
    assert all(record.key is None for record in vendors.log.records)
    commands = vendors.log.commands
    assert {type(command) for command in commands} == {kind}
    assert {(command.channel, command.address, command.user_id) for command in commands} == {
        ("sms", "+14155550100", None)
    }
    assert len({command.id for command in commands}) == 2


async def test_an_opt_out_that_comes_again_is_the_same_command(vendors: Vendors) -> None:
    for _ in range(2):
        await vendors.twilio(signing.twilio_text("STOP"), "")

    assert len({command.id for command in vendors.log.commands}) == 1


async def test_any_other_text_is_counted_and_kept_nowhere(vendors: Vendors, capsys: Any) -> None:
    await vendors.twilio(signing.twilio_text("My card is 4242 4242"), "")
    await vendors.vonage({"msisdn": "14155550100", "messageId": "0B", "text": "My card is 4242 4242"})
    await vendors.twilio([("MessageSid", "SM3"), ("From", "whatsapp:+14155550100"), ("Body", "STOP")], "")

    assert vendors.log.records == []
    assert [outcome for _, outcome in vendors.counted] == ["inbound_text"] * 3
    assert "4242" not in "".join(capsys.readouterr())


async def test_what_the_log_does_not_take_is_a_503_and_not_counted(vendors: Vendors) -> None:
    vendors.log.fails = 1
    assert await vendors.sendgrid(sendgrid_event("delivered")) == 503
    assert vendors.counted == []

    assert await vendors.sendgrid(sendgrid_event("delivered")) == 200


async def test_an_opt_out_is_repeated_until_every_partition_has_it(vendors: Vendors) -> None:
    vendors.log.fails = 1
    assert (await vendors.twilio(signing.twilio_text("STOP"), ""))[0] == 200
    assert sorted(record.partition or 0 for record in vendors.log.records) == [*range(PARTITIONS)]

    vendors.log.fails = 3
    assert (await vendors.twilio(signing.twilio_text("STOP"), ""))[0] == 503


async def test_a_proxy_in_front_changes_nothing_of_what_twilio_signed() -> None:
    url = "https://n.example/notify"
    async with gateway(public_url=url) as vendors:
        body, headers, target = signing.twilio(signing.twilio_status("delivered"), public_url=url)
        forwarded = {"Host": "10.0.0.7:8080", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "attacker.example"}
        assert (await vendors.post(target, body, headers | forwarded))[0] == 200


async def test_without_a_public_url_twilio_is_taken_at_its_word() -> None:
    async with gateway(public_url=None) as vendors:
        own = str(vendors.client.make_url("/")).rstrip("/")
        body, headers, target = signing.twilio(signing.twilio_status("delivered"), public_url=own)
        assert (await vendors.post(target, body, headers))[0] == 200


# --- SES ---


@pytest.mark.parametrize("version", ["1", "2"])
async def test_an_event_of_ses_comes_in_an_envelope_of_sns(amazon: Any, version: str) -> None:
    vendors, url, asked = amazon
    said = signing.sns(ses_event("Bounce", {"bounceType": "Permanent"}), f"{url}a.pem", version=version)
    assert (await vendors.ses(said))[0] == 200
    assert (await vendors.ses(said))[0] == 200

    one, again = vendors.log.receipts
    assert one == again
    assert (one.provider, one.channel, one.status, one.reason) == ("ses", "email", "bounced", "hard")
    assert asked == ["/a.pem"]


def subscription(kind: str, subscribe_url: str) -> dict[str, Any]:
    return {"Type": kind, "Token": "t", "SubscribeURL": subscribe_url}


async def test_a_subscription_of_a_topic_that_is_set_is_confirmed(amazon: Any) -> None:
    vendors, url, asked = amazon
    more: dict[str, Any] = {
        "Type": "SubscriptionConfirmation",
        "Token": "t",
        "SubscribeURL": f"{url}?Action=ConfirmSubscription",
    }
    assert (await vendors.ses(signing.sns("m", f"{url}a.pem", **more)))[0] == 200
    assert asked == ["/a.pem", "/?Action=ConfirmSubscription"]

    assert (await vendors.ses(signing.sns("m", f"{url}a.pem", **more, TopicArn=f"{TOPIC}x")))[0] == 403
    elsewhere: dict[str, Any] = {**more, "SubscribeURL": "https://attacker.example/?Action=ConfirmSubscription"}
    assert (await vendors.ses(signing.sns("m", f"{url}a.pem", **elsewhere)))[0] == 403
    assert len(asked) == 2
    assert vendors.log.records == []


async def test_the_end_of_a_subscription_is_not_undone(amazon: Any) -> None:
    vendors, url, asked = amazon
    more: dict[str, Any] = {
        "Type": "UnsubscribeConfirmation",
        "Token": "t",
        "SubscribeURL": f"{url}?Action=ConfirmSubscription",
    }
    assert (await vendors.ses(signing.sns("m", f"{url}a.pem", **more)))[0] == 200

    assert asked == ["/a.pem"]


async def test_a_wrong_signature_of_sns_is_a_403_and_a_certificate_that_is_away_a_503(amazon: Any) -> None:
    vendors, url, asked = amazon
    said = signing.sns(ses_event("Delivery"), f"{url}a.pem")
    assert (await vendors.ses(said | {"Message": json.dumps(ses_event("Open"))}))[0] == 403
    assert (await vendors.ses(signing.sns(ses_event("Delivery"), "https://127.0.0.1:9/a.pem")))[0] == 503
    assert (await vendors.ses(signing.sns(ses_event("Delivery"), "https://attacker.example/a.pem")))[0] == 403

    assert vendors.log.records == []
    assert asked == ["/a.pem"]


async def test_what_ses_says_of_the_topic_itself_is_counted(amazon: Any) -> None:
    vendors, url, _ = amazon
    said = "Successfully validated SNS topic for Amazon SES event publishing."
    assert (await vendors.ses(signing.sns(said, f"{url}a.pem")))[0] == 200

    assert vendors.counted == [("ses", "unreadable")]


# --- hostile, and signed ---

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_KINDS = (
    "delivered",
    "bounce",
    "dropped",
    "open",
    "processed",
    "Bounce",
    "Click",
    "Subscription",
    "failed",
    "rejected",
)
_fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("sg_event_id", "sg_message_id", "timestamp", "url", "type", "reason", "text", "error"), _json),
        **dict.fromkeys(("message-timestamp", "err-code", "msisdn", "from", "channel", "mail", "bounce"), _json),
        **{name: _json | st.sampled_from(_KINDS) for name in ("event", "status", "eventType")},
        **{name: _json | st.just(SEND_ID) for name in ("send_id", "client-ref", "client_ref")},
        **{name: _json | st.just("id") for name in ("messageId", "message_uuid")},
    },
)


@given(st.lists(_fields | _json, max_size=5))
@settings(max_examples=25, deadline=None)
def test_no_signed_event_makes_a_webhook_fail_or_a_record_bad(said: list[Any]) -> None:
    async def call() -> None:
        async with gateway() as vendors:
            assert await vendors.sendgrid(*said) == 200
            for each in said:
                assert await vendors.vonage(each) in ((200, 400) if isinstance(each, dict) else (400,))
                fields = [(str(name), str(value)) for name, value in each.items()] if isinstance(each, dict) else []
                assert (await vendors.twilio([*fields, *signing.twilio_status("delivered")]))[0] == 200
            assert len(vendors.log.receipts) + len(vendors.log.commands) == len(vendors.log.records)

    asyncio.run(call())


@given(st.lists(_fields | _json | texts, max_size=5))
@settings(max_examples=25, deadline=None)
def test_no_message_of_ses_fails(said: list[Any]) -> None:
    for each in said:
        assert len(events_of(each if isinstance(each, str) else json.dumps(each))) == 1
