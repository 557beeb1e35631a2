"""Codes: six digits that only the installation can tell, and that nothing else can be told from."""

from collections import Counter
from uuid import uuid4

import pytest

from app.domain.codes import code_of, is_code, mark_of, proof_of

SECRET = b"a secret of the installation"
WHOSE = ("ann", "sms", "+442071838750", "0b6a5e5c-6f0e-4d7c-9f5e-7b1d2a3c4d5e")


def test_the_same_code_is_made_wherever_the_secret_is() -> None:
    assert code_of(SECRET, *WHOSE) == code_of(SECRET, *WHOSE)
    assert is_code(code_of(SECRET, *WHOSE))


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("make", [code_of, mark_of, proof_of])
def test_whatever_differs_makes_another(make: object, part: int) -> None:
    other = [*WHOSE]
    other[part] += "x"
    assert make(SECRET, *other) != make(SECRET, *WHOSE)  # type: ignore[operator]
    assert make(SECRET + b"x", *WHOSE) != make(SECRET, *WHOSE)  # type: ignore[operator]


def test_parts_do_not_run_into_each_other() -> None:
    assert mark_of(SECRET, "ab", "c", "d", "e") != mark_of(SECRET, "a", "bc", "d", "e")


def test_a_mark_and_a_proof_of_the_same_are_not_the_same() -> None:
    assert mark_of(SECRET, *WHOSE) != proof_of(SECRET, *WHOSE)


def test_every_digit_is_as_likely_in_every_place() -> None:
    codes = [code_of(SECRET, "ann", "sms", "+442071838750", str(uuid4())) for _ in range(5_000)]
    for place in range(6):
        seen = Counter(code[place] for code in codes)
        assert len(seen) == 10
        assert all(350 < count < 650 for count in seen.values())  # 500, with seven standard deviations


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345",
        "1234567",
        "12345a",
        " 12345",
        "-12345",
        "123 456",
        "12345\n",
        "\N{FULLWIDTH DIGIT ONE}" * 6,
        "²" * 6,
    ],
)
def test_what_is_no_code_is_not_taken_for_one(text: str) -> None:
    assert not is_code(text)


@pytest.mark.parametrize("make", [code_of, mark_of, proof_of])
def test_without_a_secret_there_are_no_codes(make: object) -> None:
    with pytest.raises(ValueError, match="secret"):
        make(b"", *WHOSE)  # type: ignore[operator]
