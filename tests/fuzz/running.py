"""Targets in turn, each in a process of its own: by structure (hypothesis) or by bytes (atheris).

Processes are forked, as what they need takes seconds to import; libFuzzer wants it instrumented, and so by itself.
"""

import json
import math
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: An input that takes longer has been found, too.
_LIMIT_S = 20
_ROUND = 100
_WRITE_EVERY_S = 1.0
#: What libFuzzer is to take the branches of.
_INSTRUMENTED = ["schemas", "agents", "tables", "app.domain", "app.kafka"]
_LONGEST = 4_096
#: Where the bytes that were learnt are kept.
_CORPUS = Path(".tocsin/fuzz")
#: Beside its share: the last input, the report.
_SPARE_S = 90


class TooSlow(AssertionError):
    """An input that takes longer than any may."""


class _TimeIsUp(BaseException):
    """Ends a round in its middle."""


class Run:
    """What came of it so far, also written to ``report`` once a second: libFuzzer ends its process as it likes."""

    def __init__(self, target: Any, report: Path) -> None:
        self.target = target
        self.inputs = 0
        self.slowest = 0.0
        self.found: dict[str, str] = {}
        self._report = report
        self._begun = time.monotonic()
        self._written = 0.0

    def check(self, given: Any) -> None:
        """Raises nothing: what it finds is kept."""
        try:
            self.try_out(given)
        except Exception as error:
            self._keep(given, error)
        self.write()

    def try_out(self, given: Any) -> None:
        begun = time.monotonic()
        try:
            with _limited():
                self.target.check(given)
        finally:
            self.inputs += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def _keep(self, given: Any, error: Exception) -> None:
        from tests.fuzz.findings import keep, kind_of

        self.found[kind_of(error)] = str(keep(self.target, given, error))

    def write(self, *, now: bool = False) -> None:
        at = time.monotonic()
        if not now and at - self._written < _WRITE_EVERY_S:
            return
        self._written = at
        lasted = round(at - self._begun, 1)
        said = {"inputs": self.inputs, "seconds": lasted, "slowest": round(self.slowest, 2), "found": self.found}
        self._report.write_text(json.dumps(said))


@contextmanager
def _limited() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise TooSlow(f"takes longer than {_LIMIT_S} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)


def turns(way: str, only: str, seconds: float, seed: int, report: Path) -> None:
    """Every target that can be fuzzed that way and has ``only`` in its name."""
    if way == "bytes":
        import atheris

        with atheris.instrument_imports(include=_INSTRUMENTED):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    chosen = [each for each in TARGETS if only in each.name and (way == "structure" or each.of_bytes is not None)]
    inputs, found = 0, dict[str, str]()
    for target in chosen:
        share = seconds / len(chosen)
        said = forked(by_bytes if way == "bytes" else by_structure, share + _SPARE_S, target, share, seed)
        inputs += said["inputs"]
        found |= said["found"]
        speed = f"{said['inputs']:>7} inputs in {said['seconds']:>5} s, the slowest {said['slowest']} s"
        print(f"{target.name:<52} {way:<9} {speed}", *said["found"], sep="\n    ", flush=True)
    report.write_text(json.dumps({"inputs": inputs, "found": found}))


def forked(work: Callable[..., None], limit_s: float, *given: Any) -> dict[str, Any]:
    """What the work reports from a process of its own, also where that process came to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        process = multiprocessing.get_context("fork").Process(target=work, args=(*given, report))
        process.start()
        process.join(None if math.isinf(limit_s) else limit_s)
        died = "" if process.exitcode == 0 else f"ended with status {process.exitcode}"
        if process.is_alive():
            process.kill()
            process.join()
            died = f"did not end within {limit_s:.0f} s"
        said: dict[str, Any] = {"inputs": 0, "seconds": 0, "slowest": 0, "found": {}}
        if report.exists():
            said |= json.loads(report.read_text())
        if died and not said["found"]:
            said["found"] = {f"{work.__name__} of {[str(each)[:40] for each in given]} {died}": "(no input)"}
        return said


def by_structure(target: Any, seconds: float, seed: int, report: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis.strategies import SearchStrategy

    run = Run(target, report)
    end = time.monotonic() + seconds
    relaxed = settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )

    def check(given_input: Any) -> None:
        if time.monotonic() >= end:
            raise _TimeIsUp
        run.check(given_input)

    inputs: SearchStrategy[Any] = run.target.inputs
    played = given(inputs)(check)
    with suppress(_TimeIsUp):
        while True:
            seeded(seed)(relaxed(played))()
            seed += 1
    run.write(now=True)


def by_bytes(target: Any, seconds: float, seed: int, report: Path) -> None:
    """Never returns."""
    import atheris

    run = Run(target, report)
    corpus = _CORPUS / re.sub(r"\W+", "-", target.name).strip("-")
    make: Callable[[bytes], Any] = target.of_bytes
    begin_with, learnt = corpus / "seeds", corpus / "learnt"
    for folder in (begin_with, learnt):
        folder.mkdir(parents=True, exist_ok=True)
    with (corpus / "libfuzzer.log").open("wb") as log:
        os.dup2(log.fileno(), 2)
    for number, data in enumerate(target.begin_with()):
        (begin_with / str(number)).write_bytes(data)
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed + 1}",
        f"-max_len={_LONGEST}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-verbosity=0",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup([sys.argv[0], str(learnt), str(begin_with), *options], lambda data: run.check(make(data)))
    run.write(now=True)
    atheris.Fuzz()
