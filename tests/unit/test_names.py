"""Names of tests state a rule, in few enough words to be read in a list."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 80


def test_no_name_of_a_test_is_longer_than_80_characters() -> None:
    files = [path for folder in ("tests", "examples") for path in (ROOT / folder).rglob("test_*.py")]
    texts = (path.read_text(encoding="utf-8") for path in files)
    names = [name for text in texts for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", text, re.MULTILINE)]

    assert len(names) > 1_500
    assert [name for name in names if len(name) > LONGEST] == []
