"""What a campaign's benchmark makes of what it saw, and what it feeds the system with."""

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from app.campaigns.rows import rows_of
from bench.campaign import _Campaign, _devices, _Sample, _urgent_figures, _written
from bench.workload import Workload
from schemas.campaigns import Row
from schemas.commands import read_command


def test_every_user_gets_a_device() -> None:
    records = list(_devices(Workload(users=3, events=0, partitions=8, now_ms=0)))

    assert [read_command(record.value or b"").user_id for record in records] == [
        f"user-{number:08}" for number in range(3)
    ]


def test_the_file_is_an_upload_of_every_user_once(tmp_path: Path) -> None:
    octets = _written(tmp_path / "rows", 3).read_bytes()
    rows = rows_of("application/x-ndjson", lambda row: None)
    found = [*rows.feed(octets), *rows.end()]

    assert [each.user_id for each in found if isinstance(each, Row)] == [f"user-{number:08}" for number in range(3)]
    assert all(msgspec.json.decode(each.data or b"")["order_id"] for each in found if isinstance(each, Row))


def test_rates_are_from_the_beginning_and_memory_is_compared_with_that_at_a_quarter() -> None:
    seen = _Campaign(cast(Any, None), {}, users=100, began_s=10.0, uploaded_s=12.0, produced_s=15.0)
    seen.cpu_s = {"router": 0.5}
    seen.samples = [
        _Sample(11.0, 10, {"router": 100.0}),
        _Sample(13.0, 30, {"router": 200.0}),
        _Sample(20.0, 100, {"router": 220.0}),
    ]
    found = {(each.case, each.name): each for each in seen.figures()}

    rates = {name: found["100 recipients", name].value for name in ("uploaded", "produced", "sent")}
    assert rates == {"uploaded": 50.0, "produced": 20.0, "sent": 10.0}
    assert found["100 recipients, router", "cpu"].value == pytest.approx(5_000)
    assert found["100 recipients, router", "memory"].ratio == pytest.approx(1.1)


def test_what_urgent_messages_wait_is_compared_with_the_calm() -> None:
    p50 = _urgent_figures(100, [10.0], [30.0])[1]

    assert (p50.value, p50.ratio) == (30.0, 3.0)
