"""Runs ``tocsin audit`` on the system under experiment, and makes an invariant of what it finds."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Container, Iterable, Mapping
from typing import Any

from faults.system import Faulty

_LIMIT_S = 600.0
#: All is quiet by then: what has no end waits for nothing.
_OPEN_FOR = "2m"
#: What experiments write themselves where nobody but Tocsin may.
_OURS = ("can't be read as", "the event's user isn't the record's key")
_MOST_SHOWN = 10


async def audited(system: Faulty, dead: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The invariant AUDIT: how many differences there are, and checks that couldn't be made. ``dead``: the letters of
    the run; what a role refused is what the experiment wrote in its place."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "audit", "--json", "--open-for", _OPEN_FOR),
        env=system.dev.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return verdict([f"no answer within {_LIMIT_S:.0f} s"])
    try:
        refused = {(each.get("topic"), each.get("partition"), each.get("offset")) for each in dead}
        return verdict(broken(json.loads(out), refused))
    except ValueError:
        return verdict([err.decode("utf-8", "replace")[-500:]])


def broken(said: Mapping[str, Any], refused: Container[tuple[Any, Any, Any]] = ()) -> list[str]:
    """What breaks the invariant of all that the audit printed. ``refused``: topic, partition and offset of records that
    a role refused."""
    found = []
    for check in said["checks"]:
        if check["failed"] is not None:
            found.append(f"{check['check']}: {check['failed']}")
        shown = [
            each
            for each in check["differences"]
            if not each["what"].startswith(_OURS)
            and (each["where"], each["partition"], each["position"]) not in refused
        ]
        found += [
            f"{check['check']}: {each['where']}:{each['partition']}:{each['position']} {each['key']}: {each['what']}"
            for each in shown
        ]
        found += [f"{check['check']}: one more"] * (check["difference_count"] - len(check["differences"]))
    return found


def verdict(found: list[str]) -> Mapping[str, Any]:
    return {
        "name": "AUDIT",
        "means": "differences that `tocsin audit` finds between the log and what became of it",
        "value": len(found),
        "bound": 0,
        "verdict": "FAIL" if found else "pass",
        "examples": found[:_MOST_SHOWN],
    }
