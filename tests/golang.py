"""Go for tests."""

import os
from pathlib import Path

from app.dev.golang import NoGo, ensure_go
from tests.lacking import lacking


def environment() -> dict[str, str]:
    """The one that has go and gofmt."""
    try:
        return ensure_go(Path(".tocsin/go"), os.environ)
    except NoGo as error:
        lacking(str(error))
