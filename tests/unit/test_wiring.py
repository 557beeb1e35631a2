"""What a running role does when another policy comes into force, and that its process ends."""

import asyncio
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from app.domain.catalog import Catalog
from app.domain.policy import parse_policy
from app.providers.gate import Gate
from app.providers.limits import Limits
from app.watchdog import EXIT_CODE
from app.wiring.keeping import _Built, _take_over

#: A role whose end hangs.
HANGING = """
import asyncio, threading
from app.wiring.keeping import _closing
from app.wiring.process import run

never = threading.Event()

async def hang():
    await asyncio.to_thread(never.wait)

async def main(stop, watchdog):
    print("runs", flush=True)
    {main}

run(main, end_within_s=0.5)
"""
DEAF = """
    await hang()
"""
CLOSES_NEVER = """
    async with _closing(watchdog) as stack:
        stack.push_async_callback(hang)
        raise RuntimeError("crashed")
"""
LEAVES_A_THREAD = """
    threading.Thread(target=never.wait).start()
    raise RuntimeError("crashed")
"""

LIMITED = "providers: {email: {limits: {ses: 10/s}}}"


async def test_a_new_policy_reaches_the_machine_and_the_gates_at_once_and_is_announced() -> None:
    gate, changed = Gate("ses", concurrency=5), asyncio.Event()
    built = _Built(SimpleNamespace(role="email", catalog=None), limits=Limits([gate], 2, lambda: 0))
    built.own(1)

    _take_over([built], Catalog(parse_policy(LIMITED), 7, {}), changed)

    assert built.machine.catalog.policy_version == 7
    assert gate.rate == 5.0
    assert changed.is_set()

    _take_over([built], Catalog(parse_policy(""), 8, {}), changed)

    assert gate.rate is None


@pytest.mark.parametrize(
    ("main", "told"),
    [(DEAF, True), (CLOSES_NEVER, False), (LEAVES_A_THREAD, False)],
    ids=("signal", "crash", "thread"),
)
def test_an_end_that_hangs_is_ended_whatever_began_it(main: str, told: bool) -> None:
    code = HANGING.format(main=main)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as role:
        try:
            assert role.stdout is not None
            assert role.stdout.readline() == "runs\n"
            if told:
                role.send_signal(signal.SIGTERM)

            assert role.wait(60) == EXIT_CODE
        finally:
            role.kill()
