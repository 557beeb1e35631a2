"""What a running role does when another policy comes into force."""

import asyncio
from types import SimpleNamespace

from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.providers.gate import Gate
from app.providers.limits import Limits
from app.wiring import _Built, _take_over

LIMITED = "providers: {email: {limits: {ses: 10/s}}}"


async def test_a_new_policy_reaches_the_machine_and_the_gates_at_once_and_is_announced() -> None:
    gate, changed = Gate("ses", concurrency=5), asyncio.Event()
    built = _Built(SimpleNamespace(role="email", catalog=None), limits=Limits([gate], partitions=2))
    built.own(1)

    _take_over([built], Catalog(parse_policy(LIMITED), 7, {}), changed)

    assert built.machine.catalog.policy_version == 7
    assert gate.rate == 5.0
    assert changed.is_set()

    _take_over([built], Catalog(parse_policy(""), 8, {}), changed)

    assert gate.rate is None
