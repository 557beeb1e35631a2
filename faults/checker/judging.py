"""Judges a run folder: reads all that can be seen of the run, puts it together, and asks each invariant."""

import asyncio
from pathlib import Path

from faults.checker.analytics import read_analytics
from faults.checker.facts import gather
from faults.checker.folder import read_run
from faults.checker.topics import read_log
from faults.checker.values import Verdict
from faults.checker.verdicts import verdicts


def judge(folder: Path) -> list[Verdict]:
    """Every invariant's verdict. Takes seconds and runs an event loop of its own, so call it in a thread of yours.

    Raises BadRun when the run can't be judged: a file that is missing or wrong, a broker that doesn't answer.
    """
    run = read_run(folder)
    log = asyncio.run(read_log(run.terms))
    return verdicts(gather(run, log.records, read_analytics(run.terms, log.begins)))
