"""What a test needs and this machine lacks: elsewhere the test is skipped and says so, in CI it fails."""

import os
from typing import NoReturn

import pytest


def lacking(why: str) -> NoReturn:
    """``why``: what there isn't, and how to get it. ``.ci/run`` sets ``CI``, as most services that run tests do."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
