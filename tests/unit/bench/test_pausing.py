"""What a pause's benchmark makes of the times that it saw."""

import asyncio
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pausing import _against, _Calls, _Campaign, _Seen, lateness

_TIMES = st.lists(st.integers(0, 1_000), max_size=30)


def test_a_pause_is_late_by_the_last_that_happened_in_it() -> None:
    assert lateness([(100, 200), (300, 400)], [90, 100, 130, 199, 200, 250]) == [99, 0]


@given(_TIMES, st.integers(0, 1_000), st.integers(1, 500))
def test_what_lies_outside_of_a_pause_counts_for_nothing(times: list[int], begun: int, long: int) -> None:
    until = begun + long
    [late] = lateness([(begun, until)], times)

    assert late == max((at - begun for at in times if at in range(begun, until)), default=0)


def test_calls_are_read_as_they_are_written(tmp_path: Path) -> None:
    calls, file = _Calls(tmp_path), tmp_path / "calls.jsonl"
    lines = [
        {"at_ms": 5, "operation": "send", "send_id": "a", "outcome": "accepted"},
        {"at_ms": 6, "operation": "token", "send_id": None},
        {"at_ms": 9, "operation": "send", "send_id": "b"},
    ]
    octets = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    file.write_bytes(octets[:-5])
    assert (calls.look(), calls.began) == (1, {"a": 5})

    file.write_bytes(octets)
    assert (calls.look(), calls.began) == (2, {"a": 5, "b": 9})


def test_a_campaign_is_held_to_what_is_produced_and_not_to_its_calls() -> None:
    campaign = _Campaign(cast(Any, None), "calm", 1)
    campaign.holds = [(1_000, 4_000), (8_000, 11_000)]
    seen = _Seen(
        calls={"a": 3_500, "other": 3_900},
        produced={"paused-calm": [900, 1_200], "another": [3_000]},
        sends={"paused-calm": {"a": 950}},
    )
    found = {figure.name: (figure.value, figure.holds) for figure in campaign.figures(seen, "calm")}

    assert found == {
        "last request is produced, median": (0.1, None),
        "last request is produced, most": (0.2, True),
        "last call begins, median": (1.25, None),
        "last call begins, most": (2.5, None),
    }


def test_of_what_nothing_was_seen_no_pause_is_judged() -> None:
    campaign = _Campaign(cast(Any, None), "calm", 1)
    campaign.holds = [(1_000, 4_000)]

    with pytest.raises(LookupError, match="nothing was seen"):
        campaign.figures(_Seen(), "calm")


def test_a_baseline_changes_nothing_of_what_a_figure_is_held_to() -> None:
    campaign = _Campaign(cast(Any, None), "calm", 1)
    campaign.holds = [(1_000, 4_000)]
    [_, base] = campaign.figures(_Seen(produced={"paused-calm": [1_100]}), "calm")
    [_, late] = campaign.figures(_Seen(produced={"paused-calm": [2_200]}), "under load")

    compared = _against(late, base)

    assert compared.ratio == pytest.approx(12.0)
    assert (compared.bound, compared.holds) == ("≤ 1 s", False)


class _Produced:
    """A gateway whose campaign has produced so many at each look."""

    def __init__(self, *counts: int, status: str = "running") -> None:
        self._counts = list(counts)
        self._status = status

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        count = self._counts.pop(0)
        return {"campaigns": [{"campaign_id": "paused-calm", "status": self._status, "produced": count}]}


def test_a_pause_waits_until_more_has_gone_out_since() -> None:
    gateway = _Produced(100, 110, 120)

    asyncio.run(_Campaign(cast(Any, gateway), "calm", 1).under_way())

    assert gateway._counts == []


def test_what_is_done_can_not_be_paused() -> None:
    with pytest.raises(RuntimeError, match="was done before"):
        asyncio.run(_Campaign(cast(Any, _Produced(100, status="done")), "calm", 1).under_way())
