"""The example that sends by the client, run as its page says."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.clients.conftest import Served

EXAMPLE = Path(__file__).parents[3] / "examples" / "send.py"


def ran(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if name != "TOCSIN_API_KEY"}
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=600)


def test_it_says_what_became_of_the_notification(served: Served) -> None:
    shown = ran("--url", served.url, "--key", served.keys["shop"], "--user", "ann")

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("accepted: ")
    assert "in_app" in shown.stdout


def test_it_ends_with_what_is_wrong(served: Served) -> None:
    refused = ran("--url", served.url, "--key", "shop.wrong")

    assert refused.returncode == 1
    assert "401" in refused.stderr
    assert ran().returncode == 2
