"""``tocsin audit``: whether what the log says and what became of it agree, while the system runs."""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from app.cli.moments import duration, moment
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_secret, load_settings
from schemas.instants import rfc3339

if TYPE_CHECKING:
    from app.audit.findings import Finding, Progress
    from app.audit.running import Audit


def audit(
    since: Annotated[
        str | None,
        typer.Option("--from", help="RFC 3339, a day (UTC), or how long ago: 24h, 7d. Default: all that is kept."),
    ] = None,
    until: Annotated[str, typer.Option("--to", help="The same; default: now.")] = "now",
    only: Annotated[list[str] | None, typer.Option(help="balance, state, decisions or sink. Repeatable.")] = None,
    open_for: Annotated[str, typer.Option(help="How long a send may be open without an end or a stated wait.")] = "15m",
    as_json: AsJson = False,
) -> None:
    """Prove that nothing was lost, altered or invented: compare the topics, the tables, the decisions and ClickHouse.

    Reads while the system runs, and says what it could not cover. A difference names its partition, key and position.
    Exit status 0 only if every check holds. docs/audit.md says what each check compares.

    Example: `tocsin audit --from 24h --only balance --only sink`
    """
    from app.audit.running import now_ms

    now = now_ms()
    from_ms = None if since is None else moment("--from", since, now)
    to_ms = min(moment("--to", until, now), now)
    if from_ms is not None and from_ms >= to_ms:
        raise Refused(f"--from {rfc3339(from_ms)} isn't before --to {rfc3339(to_ms)}")
    asked = _asked(from_ms, to_ms, duration("--open-for", open_for), only)
    findings = _run(asked)
    if as_json:
        print(json.dumps(_as_json(asked, findings), indent=2))
    else:
        _print(asked, findings)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(1)


def _asked(from_ms: int | None, to_ms: int, open_ms: int, only: Sequence[str] | None) -> "Audit":
    from app.audit.findings import CHECKS
    from app.audit.running import Audit
    from app.wiring import DECIDING, internal_tables

    for name in only or ():
        if name not in CHECKS:
            raise Refused(f"--only: unknown check {name}; the checks are {', '.join(CHECKS)}")
    checks = [check for check in CHECKS if not only or check in only]
    settings = load_settings()
    machines = {role: partial(machine, settings) for role, machine in DECIDING.items()}
    return Audit(
        settings,
        load_secret(settings),
        from_ms,
        to_ms,
        open_ms,
        checks,
        internal_tables(),
        machines,
    )


def _run(asked: "Audit") -> "list[Finding]":
    from app.audit.running import audit as run

    # What the machines log was logged when it happened; what is printed is the audit's alone.
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with _Bars() as bars:
        return asyncio.run(run(asked, bars.begin))


class _Bars:
    """A bar for each check on standard error, so that what is printed can be piped."""

    def __enter__(self) -> "_Bars":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._bars.start()
        return self

    def begin(self, check: str) -> "Progress":
        task = self._bars.add_task(check, total=None)
        return lambda done, total: self._bars.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


# --- showing it ---


def _as_json(asked: "Audit", findings: "Sequence[Finding]") -> dict[str, Any]:
    return {
        "from": None if asked.from_ms is None else rfc3339(asked.from_ms),
        "to": rfc3339(asked.to_ms),
        "holds": all(finding.holds for finding in findings),
        "checks": [finding.as_json() for finding in findings],
    }


def _print(asked: "Audit", findings: "Sequence[Finding]") -> None:
    begin = "the beginning of what is kept" if asked.from_ms is None else rfc3339(asked.from_ms)
    print(f"From {begin} to {rfc3339(asked.to_ms)}\n")
    rows = [
        {
            "check": finding.check,
            "": "holds" if finding.holds else "differs" if finding.failed is None else "can't be made",
            "covered": _words(finding.covered),
            "not covered": _words(finding.not_covered),
        }
        for finding in findings
    ]
    print_rows(rows, ("check", "", "covered", "not covered"), as_json=False)
    for finding in findings:
        if finding.failed is not None:
            print(f"\n{finding.check}: {finding.failed}")
        if finding.count:
            _print_differences(finding)


def _words(counts: Any) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _print_differences(finding: "Finding") -> None:
    print(f"\n{finding.check}: {finding.count} differences")
    rows = [each.as_json() for each in finding.differences]
    print_rows(rows, ("where", "partition", "position", "key", "what"), as_json=False)
    if finding.count > len(rows):
        print(f"and {finding.count - len(rows)} more")
