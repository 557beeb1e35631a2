"""The page of the examples names each of them."""

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_page_names_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text()

    assert [file.name for file in EXAMPLES.glob("*.py") if f"examples/{file.name}" not in page] == []
