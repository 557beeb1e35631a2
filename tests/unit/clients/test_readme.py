"""Every example of the client's page runs, against the gateway itself."""

import re
from pathlib import Path

import pytest

from tests.unit.clients.conftest import Served

PAGE = Path(__file__).parents[3] / "clients" / "python" / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_runs(number: int, served: Served) -> None:
    keys = served.keys
    names = {"URL": served.url, "KEY": keys["shop"], "ADMIN": keys["ops"], "TOKEN": keys["ann"], "__name__": "example"}

    exec(compile(EXAMPLES[number], f"{PAGE.name} {number}", "exec"), names)


def test_the_page_has_an_example_of_each_kind_of_thing() -> None:
    text = "".join(EXAMPLES)

    things = ("notifications.send", "send_many", "batcher", "campaigns.upload", "users.", "hooks.", "verify_webhook")
    assert [thing for thing in things if thing not in text] == []
