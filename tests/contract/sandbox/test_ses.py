"""SES as aiobotocore finds it."""

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import eventually
from tests.contract.sandbox import clients
from tests.contract.sandbox.clients import new_id
from tests.contract.sandbox.process import RunningSandbox


def mail(send_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "Tocsin <notifications@example.com>",
        "Destination": {"ToAddresses": ["ann@mail.example"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Your flight – Ä"},
                "Body": {"Text": {"Data": "It left"}, "Html": {"Data": "<p>It left</p>"}},
                "Headers": [{"Name": "List-Unsubscribe", "Value": "<https://tocsin.example/u>"}],
            }
        },
        "EmailTags": [{"Name": "send_id", "Value": send_id}, {"Name": "notification_id", "Value": "n-1"}],
        "ConfigurationSetName": "tocsin",
        **changes,
    }


async def code_of(client: Any, **changes: Any) -> str:
    with pytest.raises(ClientError) as refused:
        await client.send_email(**mail(new_id(), **changes))
    return str(refused.value.response["Error"]["Code"])


async def test_an_accepted_mail_is_shown(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    async with clients.ses(sandbox) as client:
        answer = await client.send_email(**mail(send_id))

    (shown,) = await sandbox.accepted(send_id=send_id)
    assert (shown["provider_message_id"], shown["notification_id"]) == (answer["MessageId"], "n-1")
    assert (shown["address"], shown["subject"]) == ("ann@mail.example", "Your flight – Ä")
    assert (shown["body"], shown["html"]) == ("It left", "<p>It left</p>")
    assert shown["tags"] == {"send_id": send_id, "notification_id": "n-1"}
    assert shown["headers"] == {"List-Unsubscribe": "<https://tocsin.example/u>"}


async def test_wrong_keys_are_refused(sandbox: RunningSandbox) -> None:
    async with clients.ses(sandbox, AWS_SECRET_ACCESS_KEY="wrong") as client:
        assert await code_of(client) == "InvalidSignatureException"
    async with clients.ses(sandbox, AWS_ACCESS_KEY_ID="AKIAUNKNOWN") as client:
        assert await code_of(client) == "UnrecognizedClientException"


async def test_an_unverified_sender_is_rejected(sandbox: RunningSandbox) -> None:
    async with clients.ses(sandbox) as client:
        assert await code_of(client, FromEmailAddress="me@elsewhere.example") == "MessageRejected"


async def test_a_tag_with_a_blank_is_refused(sandbox: RunningSandbox) -> None:
    async with clients.ses(sandbox) as client:
        assert await code_of(client, EmailTags=[{"Name": "a", "Value": "b c"}]) == "BadRequestException"


@pytest.mark.parametrize("code", ["TooManyRequestsException", "SendingPausedException", "ServiceUnavailable"])
async def test_the_official_client_understands_our_errors(sandbox: RunningSandbox, code: str) -> None:
    await sandbox.fault(provider="ses", action="error", code=code)
    async with clients.ses(sandbox) as client:
        assert await code_of(client) == code


async def test_a_proxys_page_is_no_error_of_ses(sandbox: RunningSandbox) -> None:
    await sandbox.fault(provider="ses", action="error", code="502")
    async with clients.ses(sandbox) as client:
        assert await code_of(client) == "502"


async def test_what_is_accepted_but_never_answered_is_written_down(sandbox: RunningSandbox) -> None:
    send_id = new_id()
    await sandbox.fault(provider="ses", action="accept_and_hang")

    async def is_accepted() -> bool:
        return bool(await sandbox.accepted(send_id=send_id))

    async with clients.ses(sandbox) as client:
        waiting = asyncio.ensure_future(client.send_email(**mail(send_id)))
        await eventually(is_accepted)

        assert not waiting.done()
        waiting.cancel()
