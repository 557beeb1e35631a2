"""What is written down stays, is found again, and is written before anyone is answered."""

import asyncio
from pathlib import Path

import pytest

from app.sandbox.journal import Journal
from app.sandbox.records import Accepted, Call


def accepted(journal: Journal, send_id: str | None = "s-1", provider: str = "apns", address: str = "a") -> Accepted:
    message = Accepted(
        seq=journal.accepted.last_seq + 1,
        at_ms=1,
        provider=provider,
        provider_message_id="p-1",
        send_id=send_id,
        notification_id="n-1",
        address=address,
    )
    journal.add_accepted(message)
    return message


def refused(journal: Journal, code: str) -> None:
    seq = journal.calls.last_seq + 1
    journal.add_call(Call(seq=seq, at_ms=1, provider="apns", operation="send", outcome="refused", code=code))


async def test_lines_are_in_the_file_before_the_caller_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    accepted(journal, "s-7")
    journal.when_written(lambda: told.set_result((tmp_path / "accepted.jsonl").read_text()))

    assert '"send_id":"s-7"' in await told


def test_a_restart_knows_messages_counts_and_numbers(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = accepted(journal, "s-1")
    refused(journal, "BadTopic")
    journal.flush()
    journal.close()

    again = Journal(tmp_path)
    accepted(again, "s-1")

    assert next(again.accepted.find({"send_id": "s-1"})) == first
    assert again.accepted.last_seq == 2
    assert again.stats()["providers"]["apns"]["refused"] == {"BadTopic": 1}
    assert again.stats()["duplicates"] == {"count": 1, "send_ids": [{"send_id": "s-1", "copies": 2}]}


def test_a_line_that_a_kill_left_half_written_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    accepted(journal)
    journal.flush()
    with (tmp_path / "accepted.jsonl").open("ab") as file:
        file.write(b'{"seq":2,"at_ms"')

    again = Journal(tmp_path)
    accepted(again, "s-2")
    again.flush()

    assert [message.send_id for message in Journal(tmp_path).accepted.find({})] == ["s-1", "s-2"]


def test_a_line_that_was_spoilt_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    accepted(journal)
    journal.flush()
    with (tmp_path / "accepted.jsonl").open("ab") as file:
        file.write(b"spoilt\n")

    with pytest.raises(OSError, match=r"accepted\.jsonl, line 2: "):
        Journal(tmp_path)


@pytest.mark.parametrize("after", [0, 1, 998, 999, 1000, 1001, 2400, 2499, 2500])
def test_what_is_no_longer_in_memory_is_read_from_the_file(tmp_path: Path, after: int) -> None:
    journal = Journal(tmp_path, kept=10)
    for number in range(1, 2501):
        accepted(journal, f"s-{number}")
    journal.flush()

    assert len(journal.accepted.kept) == 10
    assert [m.send_id for m in journal.accepted.find({}, after)] == [f"s-{n}" for n in range(after + 1, 2501)]
    wanted = [m.seq for m in journal.accepted.find({"send_id": "s-1500"}, after)]
    assert wanted == ([1500] if after < 1500 else [])


def test_an_address_with_quotes_is_found_in_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, kept=1)
    accepted(journal, "s-1", address='"ann b"@mail.example')
    accepted(journal, "s-2")
    journal.flush()

    assert [m.send_id for m in journal.accepted.find({"address": '"ann b"@mail.example'})] == ["s-1"]


def test_copies_by_two_providers_are_duplicates_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    accepted(journal, "s-1", "ses")
    accepted(journal, "s-1", "sendgrid")
    accepted(journal, "s-2", "ses")
    accepted(journal, None, "ses")
    accepted(journal, None, "ses")

    stats = journal.stats()
    assert stats["duplicates"] == {"count": 1, "send_ids": [{"send_id": "s-1", "copies": 2}]}
    assert (stats["providers"]["ses"]["duplicates"]["count"], stats["providers"]["ses"]["accepted"]) == (0, 4)
    assert stats["providers"]["sendgrid"]["duplicates"]["count"] == 1
