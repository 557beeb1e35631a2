"""The page about testing policies shows code: it is run as it stands there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "testing-policies.md"


def test_every_block_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
