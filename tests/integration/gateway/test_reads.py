"""Reads of users between real processes, over TLS: nobody else reads, and nobody else is read from."""

import json
from collections import Counter

import aiohttp
import msgspec
import pytest

from app.api.gateway import opened, unix_ms
from app.config import Settings
from app.store.owners import Owner
from app.store.publisher import KafkaPublisher
from schemas.topics import OWNERS
from tests.conftest import eventually
from tests.integration.gateway.conftest import PARTITIONS, Caller

pytestmark = pytest.mark.usefixtures("workers")

ALL = list(range(PARTITIONS))


@pytest.mark.parametrize("role", ["router", "in_app"])
async def test_a_worker_answers_nobody_without_the_secret(role: str, settings: Settings) -> None:
    url = json.loads((settings.data_folder(role) / "operations.json").read_text())["url"]
    async with aiohttp.ClientSession() as session:
        tls = settings.operations.client_tls()
        read = {"partition": "0", "user_id": "ada"}
        for view in ("profile", "preferences", "devices", "inbox", "reclaiming"):
            async with session.get(f"{url}/state/{view}", params=read, ssl=tls) as response:
                assert response.status == 401


async def test_forged_announcements_redirect_nothing(
    gateway: Caller, producer: KafkaPublisher, settings: Settings
) -> None:
    refused: Counter[str] = Counter()
    async with opened(settings, lambda why: refused.update([why])) as deps:

        async def both_are_known() -> bool:
            return {owner.role for owner in deps.owners.everyone()} == {"router", "in_app"}

        await eventually(both_are_known)
        for role in ("router", "in_app"):
            for at in (unix_ms(), unix_ms() + 10**11):
                forged = Owner(
                    role=role, instance="1", partitions=ALL, url="http://127.0.0.1:1", policy_version=1, at=at
                )
                await producer.publish(OWNERS, forged.name.encode(), msgspec.json.encode(forged))
            await producer.publish(OWNERS, f"{role}/1".encode(), None)

        async def all_are_refused() -> bool:
            return refused["untrusted"] >= 6

        await eventually(all_are_refused)
        assert await both_are_known()
        assert {owner.url.partition(":")[0] for owner in deps.owners.everyone()} == {"https"}
        owning = [deps.owners.owner_of(role, partition) for role in ("router", "in_app") for partition in ALL]
        assert None not in owning

    ada = gateway.user("ada")
    written = await ada("PUT", "/v1/users/ada/preferences", {"preferences": {"channels": {"sms": False}}})
    assert (written.status, (await ada("GET", "/v1/users/ada/inbox")).status) == (200, 200)


async def test_a_gateway_with_another_secret_believes_nobody_and_counts_it(environ: dict[str, str]) -> None:
    refused: Counter[str] = Counter()
    other = Settings.load({**environ, "TOCSIN_INSTALLATION__SECRET": "another-secret-of-32-characters-or-more"})
    async with opened(other, lambda why: refused.update([why])) as deps:

        async def is_counted() -> bool:
            return refused["untrusted"] >= 2

        await eventually(is_counted)
        assert deps.owners.everyone() == []
