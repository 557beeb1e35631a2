"""Caps: places in a sliding window, against a plain list that is counted."""

from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.caps import Cap, evaluate_caps, give_back, take

HOUR = Cap("hour", 3, 3_600_000)
DEFER = Cap("defer", 2, 1_000, over="defer")


def id_of(number: int) -> bytes:
    return UUID(int=number).bytes


def name_of(number: int) -> str:
    return str(UUID(int=number))


def window_of(cap: Cap, *places: tuple[int, int]) -> bytes:
    window = b""
    for number, taken_ms in places:
        window = take(window, id_of(number), taken_ms, cap)
    return window


def test_the_first_exceeded_cap_is_reported_with_its_users_and_when_a_slot_is_free() -> None:
    other, full = replace(HOUR, name="other", limit=9), replace(HOUR, name="full")
    windows = {
        "other": b"",
        "hour": window_of(HOUR, (1, 1), (2, 2), (3, 3)),
        "full": window_of(full, (4, 1), (5, 1), (6, 1)),
    }
    over = evaluate_caps([other, HOUR, full], windows, {}, id_of(9), 10)
    assert over is not None
    assert (over.cap, over.used_by, over.free_at_ms) == (HOUR, (name_of(1), name_of(2), name_of(3)), 3_600_001)


def test_places_are_counted_from_after_now_less_the_window_up_to_now() -> None:
    window = window_of(HOUR, (1, 0), (2, 0), (3, 0))
    assert evaluate_caps([HOUR], {"hour": window}, {}, id_of(9), 3_599_999) is not None
    assert evaluate_caps([HOUR], {"hour": window}, {}, id_of(9), 3_600_000) is None


def test_an_own_id_never_counts_against_itself() -> None:
    window = window_of(HOUR, (1, 1), (2, 2), (3, 3))
    assert evaluate_caps([HOUR], {"hour": window}, {}, id_of(3), 10) is None
    full = take(window, id_of(4), 4, HOUR)  # by a critical one, which no cap stops
    assert evaluate_caps([HOUR], {"hour": full}, {}, id_of(3), 10) is None


def test_an_own_place_that_slid_out_counts_for_nothing() -> None:
    window = window_of(replace(HOUR, window_ms=10_000_000), (9, 0), (1, 3_600_001), (2, 3_600_002), (3, 3_600_003))
    assert evaluate_caps([HOUR], {"hour": window}, {}, id_of(9), 3_600_010) is not None


def test_taking_a_place_twice_changes_nothing() -> None:
    window = window_of(HOUR, (1, 1), (2, 2))
    assert take(window, id_of(1), 5, HOUR) == window


def test_places_slide_out_when_another_is_taken() -> None:
    assert len(window_of(HOUR, (1, 0), (2, 1), (3, 3_600_001))) == 24


def test_a_place_given_back_is_free() -> None:
    window = window_of(HOUR, (1, 1), (2, 2), (3, 3))
    assert give_back(window, id_of(2)) == window_of(HOUR, (1, 1), (3, 3))
    assert give_back(window, id_of(7)) == window


def test_an_id_across_two_entries_is_not_taken_for_one() -> None:
    first, second = bytes(range(16)), bytes(range(100, 116))
    window = take(take(b"", first, 0x0102030405060708, Cap("a", 1, 1)), second, 0x0102030405060708, Cap("a", 1, 1))
    astride = window[16:32]
    assert astride in window
    assert give_back(window, astride) == window


@pytest.mark.parametrize(
    ("first", "own"),
    [
        # the time of the first place, and half of the id that follows
        (bytes(range(16)), (0x0102030405060708).to_bytes(8, "big") + bytes(range(8))),
        # the last byte of its place's time, and of its own all but the last
        (bytes(range(16)), bytes([0x08] * 16)),
    ],
)
def test_an_id_that_can_be_read_elsewhere_in_a_window_is_found_where_it_is(first: bytes, own: bytes) -> None:
    now = 0x0102030405060708
    window = take(take(b"", first, now, HOUR), own, now, HOUR)

    assert give_back(window, own) == take(b"", first, now, HOUR)


@pytest.mark.parametrize(
    ("cap", "category", "channel", "counted"),
    [
        (Cap("a", 1, 1), "any", "push", True),
        (Cap("a", 1, 1), "any", "in_app", False),  # without a channel, what is only in_app isn't counted
        (Cap("a", 1, 1, channel="in_app"), "any", "in_app", True),
        (Cap("a", 1, 1, channel="push"), "any", "email", False),
        (Cap("a", 1, 1, category="news"), "news", "sms", True),
        (Cap("a", 1, 1, category="news"), "orders", "sms", False),
        (Cap("a", 1, 1, category="news", channel="sms"), "news", "sms", True),
        (Cap("a", 1, 1, category="news", channel="sms"), "news", "push", False),
    ],
)
def test_a_cap_counts_its_channel_and_its_category(cap: Cap, category: str, channel: str, counted: bool) -> None:
    assert cap.counts(category, channel) is counted  # type: ignore[arg-type]


def test_newcomers_are_behind_those_who_wait_even_when_a_place_is_free() -> None:
    windows = {"defer": window_of(DEFER, (1, 0))}
    waiting = {"defer": [id_of(5)]}
    assert evaluate_caps([DEFER], windows, waiting, id_of(5), 10) is None
    newcomer = evaluate_caps([DEFER], windows, waiting, id_of(6), 10)
    assert newcomer is not None
    assert newcomer.free_at_ms == 1_000


def test_those_who_wait_get_places_in_order_as_they_become_free() -> None:
    windows = {"defer": window_of(DEFER, (1, 0), (2, 400))}
    queue = [id_of(number) for number in (5, 6, 7, 8)]
    free = [evaluate_caps([DEFER], windows, {"defer": queue}, waiting, 500) for waiting in [*queue, id_of(9)]]
    assert [over and over.free_at_ms for over in free] == [1_000, 1_400, 2_000, 2_400, 3_000]


def test_a_queue_longer_than_the_cap_takes_what_is_vacant_first() -> None:
    queue = [id_of(number) for number in (5, 6, 7, 8, 9)]
    free = [evaluate_caps([DEFER], {"defer": window_of(DEFER, (1, 0))}, {"defer": queue}, one, 500) for one in queue]
    assert [over and over.free_at_ms for over in free] == [None, 1_000, 1_500, 2_000, 2_500]


@given(
    limit=st.integers(1, 4),
    taken=st.lists(st.integers(0, 99), max_size=6),
    ahead=st.integers(0, 12),
)
def test_waiting_for_a_place_ends_as_a_replay_of_the_queue_says(limit: int, taken: list[int], ahead: int) -> None:
    cap, now = Cap("defer", limit, 100, over="defer"), 99
    places = sorted(taken)
    window = window_of(cap, *((number, at) for number, at in enumerate(places)))
    queue = [id_of(100 + number) for number in range(ahead)]
    for moment in range(now, 5000):
        places = [at for at in places if at > moment - cap.window_ms]
        while len(places) < limit and ahead >= 0:
            places.append(moment)
            ahead -= 1
        if ahead < 0:
            break
    over = evaluate_caps([cap], {"defer": window}, {"defer": queue}, id_of(999), now)
    assert (now if over is None else over.free_at_ms) == moment


def test_only_a_deferring_cap_has_a_queue() -> None:
    assert evaluate_caps([HOUR], {"hour": b""}, {"hour": [id_of(n) for n in range(5)]}, id_of(9), 10) is None


@dataclass
class Counted:
    """A cap as a list of (when, who) that is counted."""

    cap: Cap
    taken: list[tuple[int, bytes]] = field(default_factory=list)

    def live(self, now: int) -> list[tuple[int, bytes]]:
        return sorted(place for place in self.taken if now - self.cap.window_ms < place[0])

    def over(self, own: bytes, now: int) -> list[str] | None:
        live = self.live(now)
        if any(who == own for _, who in live) or len(live) < self.cap.limit:
            return None
        return [str(UUID(bytes=who)) for _, who in live]

    def take(self, own: bytes, now: int) -> None:
        if all(who != own for _, who in self.live(now)):
            self.taken = [place for place in self.taken if place[1] != own] + [(now, own)]

    def give_back(self, own: bytes) -> None:
        self.taken = [place for place in self.taken if place[1] != own]


@given(
    limit=st.integers(1, 5),
    window_ms=st.integers(1, 50),
    steps=st.lists(
        st.tuples(st.sampled_from(["judge", "take", "give back"]), st.integers(0, 8), st.integers(0, 20)), max_size=60
    ),
)
def test_any_history_is_judged_as_a_list_that_is_counted(
    limit: int, window_ms: int, steps: list[tuple[str, int, int]]
) -> None:
    cap = Cap("cap", limit, window_ms)
    counted, window, now = Counted(cap), b"", 0
    for step, number, later in steps:
        now += later
        own = id_of(number)
        if step == "take":
            counted.take(own, now)
            window = take(window, own, now, cap)
        elif step == "give back":
            counted.give_back(own)
            window = give_back(window, own)
        over = evaluate_caps([cap], {"cap": window}, {}, own, now)
        expected = counted.over(own, now)
        assert (None if over is None else sorted(over.used_by)) == (None if expected is None else sorted(expected))
        if over is not None:
            while counted.over(own, now) is not None:
                now += 1
            assert over.free_at_ms == now
            now = over.free_at_ms


@given(st.permutations([(1, 10), (2, 20), (3, 30), (4, 30)]))
def test_places_taken_in_any_order_lie_oldest_first(places: list[tuple[int, int]]) -> None:
    over = evaluate_caps([replace(HOUR, limit=4)], {"hour": window_of(HOUR, *places)}, {}, id_of(9), 40)
    assert over is not None
    assert over.used_by[:2] == (name_of(1), name_of(2))
    assert over.free_at_ms == 3_600_010


def test_a_place_taken_just_a_window_ago_has_slid_out_wherever_it_lies() -> None:
    cap = Cap("c", limit=100, window_ms=5)
    for count in range(1, 9):
        window = b""
        for taken in range(count):
            window = take(window, bytes([taken + 1]) * 16, taken, Cap("all", limit=100, window_ms=1000))
        for now in range(count, count + 6):
            left = len(take(window, bytes([99]) * 16, now, cap)) // 24 - 1
            assert left == sum(taken > now - 5 for taken in range(count))
