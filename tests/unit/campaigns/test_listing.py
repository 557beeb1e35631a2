"""A campaign's recipients: each once, in one order, in whatever order its chunks are read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.campaigns.listing import Listing
from app.campaigns.recipients import without_data
from app.domain.erasure import user_hash
from schemas.campaigns import Chunk, Place, Row, RowError

_rows = st.builds(Row, st.sampled_from([f"u{n}" for n in range(12)]), st.sampled_from([None, '{"n":1}']))
_chunks = st.lists(st.lists(_rows, max_size=6).map(lambda rows: Chunk(rows=tuple(rows))), max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("listings")


def listed(folder: Path, chunks: list[tuple[int, Chunk]]) -> Listing:
    listing = Listing(folder / "sale.db")
    for offset, chunk in chunks:
        listing.take(offset, f"sale/{offset}".encode(), offset, chunk)
    return listing


def in_order(listing: Listing, most: int = 3) -> list[tuple[Place, Row]]:
    found: list[tuple[Place, Row]] = []
    while following := listing.behind(found[-1][0] if found else Place(), most):
        found += following
    return found


@given(_chunks, st.randoms())
def test_the_order_is_that_of_the_places_however_chunks_are_read(
    folder: Path, chunks: list[Chunk], chance: Any
) -> None:
    placed = list(enumerate(chunks))
    expected: dict[str, Place] = {}
    for number, chunk in placed:
        for row, each in enumerate(chunk.rows):
            expected.setdefault(each.user_id, Place(number, row))
    # Some were written anew since, further behind, in the place of the first.
    moved = [(number + 100, without_data(chunk, number, lambda _: False)) for number, chunk in placed]
    mixed = [chance.choice(pair) for pair in zip(placed, moved, strict=True)]
    chance.shuffle(mixed)
    listing = listed(folder, mixed)
    assert [(row.user_id, at) for at, row in in_order(listing)] == list(expected.items())
    assert listing.recipients == len(expected)
    listing.close()


@given(_chunks, st.sampled_from([f"u{n}" for n in range(12)]))
def test_an_erased_users_data_goes_and_their_place_stays(folder: Path, chunks: list[Chunk], user_id: str) -> None:
    listing = listed(folder, list(enumerate(chunks)))
    before = in_order(listing)
    held = {
        n for n, chunk in enumerate(chunks) for row in chunk.rows if row.user_id == user_id and row.data is not None
    }
    assert listing.forget([(user_hash(user_id), 0)]) == [], "what came since they began anew is theirs"
    assert set(listing.forget([(user_hash(user_id), None)])) == held
    after = in_order(listing)
    assert [at for at, _ in after] == [at for at, _ in before]
    assert all(row.data is None for _, row in after if row.user_id == user_id)
    assert [row for _, row in after if row.user_id != user_id] == [r for _, r in before if r.user_id != user_id]
    for number in held:
        anew = without_data(chunks[number], number, lambda user: user == user_id)
        assert [row.user_id for row in anew.rows] == [row.user_id for row in chunks[number].rows]
        assert all(row.data is None for row in anew.rows if row.user_id == user_id)
    assert listing.forget([(user_hash(user_id), None)]) == []
    listing.close()


def test_a_row_that_is_refused_again_counts_once_and_the_first_hundred_are_shown(folder: Path) -> None:
    errors = tuple(RowError(line=n, field=None, detail="bad") for n in range(150))
    chunk = Chunk(refused=tuple(range(150)), errors=errors)
    listing = listed(folder, [(0, chunk), (1, chunk)])
    assert listing.refused == 150
    assert [error.line for error in listing.errors()] == list(range(100))
    listing.close()


def test_what_a_router_found_last_is_known_whatever_is_read_first(folder: Path) -> None:
    listing = listed(folder, [(3, Chunk(found=(0, None))), (2, Chunk(found=(0, "ab"))), (4, Chunk(found=(1, "cd")))])
    assert listing.found == {0: None, 1: "cd"}
    listing.close()
