"""The row of cancels lasts as long as the last of them."""

from schemas.commands import NotificationCancel
from tables.cancels import REMEMBERED_MS, CancelTable
from tables.rows import MemoryRows


def test_a_row_lasts_as_long_as_its_last_cancel_though_the_clock_went_back() -> None:
    rows = MemoryRows()
    cancels = CancelTable(rows)
    for source, now in (("shop", 5_000), ("bank", 1_000)):
        cancels.add(
            NotificationCancel(
                id=source, at="2026-11-26T00:00:00Z", user_id="ann", source=source, campaign_id="spring"
            ),
            now,
        )
    rows.write("cancels", cancels.table.changes())
    cancels.table.clear()

    kept, _ = cancels.table.expired(b"c", 10, REMEMBERED_MS + 5_000)
    gone, _ = cancels.table.expired(b"c", 10, REMEMBERED_MS + 5_001)

    assert (len(kept), len(gone)) == (0, 1)
