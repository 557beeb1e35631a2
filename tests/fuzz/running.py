"""One target for so many seconds, in a process of its own: by structure (hypothesis) or by bytes (atheris)."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: An input that takes longer has been found, too.
_LIMIT_S = 20
_ROUND = 200
_WRITE_EVERY_S = 1.0
#: What libFuzzer is to take the branches of.
_INSTRUMENTED = ["schemas", "agents", "tables", "app.domain", "app.kafka"]
_LONGEST = 4_096


class TooSlow(AssertionError):
    """An input that takes longer than any may."""


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


def by_structure(name: str, seconds: float, seed: int, report: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from tests.fuzz.findings import target_named

    run = Run(target_named(name), report)
    end = time.monotonic() + seconds
    relaxed = settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )

    def check(given_input: Any) -> None:
        if time.monotonic() < end:
            run.check(given_input)

    while time.monotonic() < end:
        seeded(seed)(relaxed(given(run.target.inputs)(check)))()
        seed += 1
    run.write(now=True)


def by_bytes(name: str, seconds: float, seed: int, report: Path, corpus: Path) -> None:
    """Never returns."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.findings import target_named
    target = target_named(name)
    run = Run(target, report)
    make: Callable[[bytes], Any] = target.of_bytes  # type: ignore[assignment]
    begin_with, learnt = corpus / "seeds", corpus / "learnt"
    for folder in (begin_with, learnt):
        folder.mkdir(parents=True, exist_ok=True)
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
