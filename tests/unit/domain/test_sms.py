"""How many SMS a text takes, and what a number is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.sms import E164, divided, is_gsm, segments, shortened


@pytest.mark.parametrize(
    ("count", "body"),
    [
        *((1, ""), (1, "x" * 160), (2, "x" * 161), (2, "x" * 306), (3, "x" * 307)),
        *((1, "€" * 80), (2, "€" * 81), (2, "€" * 152), (3, "€" * 153)),  # an escape and its letter stay together
        *((2, "x" * 152 + "€" + "x" * 151), (3, "x" * 152 + "€" + "x" * 152)),
        *((1, "ж" * 70), (2, "ж" * 71), (2, "ж" * 134), (3, "ж" * 135)),
        *((1, "😀" * 35), (2, "😀" * 36), (2, "😀" * 66), (3, "😀" * 67)),  # the halves of a pair do, too
    ],
)
def test_a_text_takes_as_many_sms_as_its_alphabet_needs(count: int, body: str) -> None:
    assert segments(body) == count


@pytest.mark.parametrize("character", "`´ç\t–’“\u00a0ÀÂêõ😀")
def test_one_character_outside_of_gsm_turns_the_whole_text_into_ucs_2(character: str) -> None:
    assert not is_gsm("Hello" + character)
    assert segments("x" * 69 + character) in (1, 2)
    assert segments("x" * 140 + character) == 3


@given(st.text(max_size=1600))
def test_more_text_never_takes_fewer_sms_and_bounds_hold(body: str) -> None:
    count = segments(body)

    assert 1 <= segments(body[:-1]) <= count
    units = len(body.encode("utf-16-be", "surrogatepass")) // 2
    assert count <= max(1, -(-units // 66))


@given(st.text(max_size=1600))
def test_what_each_sms_holds_is_the_text_and_fits(body: str) -> None:
    texts = divided(body)

    assert "".join(texts) == body
    assert len(texts) == segments(body)
    assert all(segments(text) == 1 for text in texts)


@pytest.mark.parametrize(
    ("text", "right"), [("+14155550123", True), ("+1415", False), ("+0415555012", False), ("+٤٤٢٠٧١٨٣٨٧", False)]
)
def test_a_number_is_in_e164_or_none(text: str, right: bool) -> None:
    assert bool(E164.fullmatch(text)) is right


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [
        ("x" * 160, 1, "x" * 160),
        ("x" * 161, 1, "x" * 157 + "..."),
        ("x" * 400, 2, "x" * 303 + "..."),
        ("ж" * 71, 1, "ж" * 69 + "…"),
        ("word " * 40, 1, "word " * 31 + "wo..."),
        ("€" * 81, 1, "€" * 78 + "..."),
        ("😀" * 36, 1, "😀" * 34 + "…"),
    ],
)
def test_a_text_is_cut_to_what_its_sms_hold(text: str, most: int, cut: str) -> None:
    assert shortened(text, most) == cut


@given(st.text(max_size=2000), st.integers(1, 10))
def test_whatever_is_cut_keeps_its_beginning_and_the_limit(text: str, most: int) -> None:
    cut = shortened(text, most)

    assert segments(cut) <= most
    assert cut == text or text.startswith(cut.rstrip(".…").rstrip()) or cut.endswith(("...", "…"))
