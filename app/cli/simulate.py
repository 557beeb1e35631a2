"""``tocsin simulate``: another policy over what is recorded, into nowhere, beside the one in force."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.moments import moment
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_secret, load_settings
from app.domain.catalog import Catalog
from app.domain.policy import Policy, PolicyError, parse_policy
from schemas.instants import rfc3339

if TYPE_CHECKING:
    from app.config import Settings
    from app.simulate.comparison import Comparison
    from app.simulate.running import Answer, Question

_SHOWN_CHANGES = 30
#: How long it may take to clear up once nobody waits.
_GRACE_S = 10.0


def simulate(
    policy: Annotated[Path, typer.Option(help="The new policy, in YAML or JSON.", exists=True, dir_okay=False)],
    since: Annotated[str, typer.Option("--from", help="RFC 3339, a day (UTC), or how long ago: 24h, 7d.")],
    until: Annotated[str, typer.Option("--to", help="The same; default: now.")] = "now",
    against: Annotated[
        Path | None,
        typer.Option(help="Compare with this policy, not the one in force.", exists=True, dir_okay=False),
    ] = None,
    users: Annotated[int, typer.Option(min=0, max=1000, help="Show this many users, the most affected first.")] = 10,
    as_json: AsJson = False,
    supervised: Annotated[
        bool,
        typer.Option(
            "--supervised",
            help="For a program that runs this: progress on standard error, a JSON object a line; ends when standard "
            "input is closed.",
        ),
    ] = False,
) -> None:
    """Run a changed policy over recorded traffic, and compare what would have been sent, held and suppressed.

    Reads requests, commands and receipts from Kafka; writes nothing there and calls no provider. What it leaves out
    is in docs/commands.md.

    Example: `tocsin simulate --policy new.yaml --from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z`
    """
    now_ms = time.time_ns() // 1_000_000
    from_ms, to_ms = moment("--from", since, now_ms), min(moment("--to", until, now_ms), now_ms)
    if from_ms >= to_ms:
        raise Refused(f"--from {rfc3339(from_ms)} isn't before --to {rfc3339(to_ms)}")
    for file in filter(None, (policy, against)):
        _parsed(file, None)  # what is wrong with it is said before anything is asked of Kafka
    settings = load_settings()
    if supervised:
        end_with_standard_input()
    progress = Steps() if supervised else _Progress()
    question, answer = _asked(settings, policy, against, from_ms, to_ms, users, progress)
    if as_json:
        print(json.dumps(_as_json(question, answer), indent=2))
    else:
        _print(question, answer, against)


def _asked(
    settings: "Settings",
    policy: Path,
    against: Path | None,
    from_ms: int,
    to_ms: int,
    users: int,
    progress: "_Progress | Steps",
) -> tuple["Question", "Answer"]:
    from aiokafka.errors import KafkaError

    from app.cli.kafka import refused_by_kafka
    from app.simulate.running import NothingRecorded, Question, simulate
    from app.store.config_follower import ConfigFollower
    from app.wiring import providers_by_channel

    options, secret = settings.kafka.client_options(), load_secret(settings)

    async def ask() -> "tuple[Question, Answer]":
        config = ConfigFollower(options, bounds=settings.bounds)
        try:
            await config.start()
            in_force = config.catalog
        finally:
            await config.close()
        now = in_force if against is None else _changed(in_force, against)
        new = _changed(in_force, policy)
        providers, partitions = providers_by_channel(settings), settings.kafka.partitions
        question = Question(now, new, providers, partitions, from_ms, to_ms, secret, users)
        with progress:
            return question, await simulate(options, question, progress)

    try:
        return asyncio.run(ask())
    except NothingRecorded:
        raise Refused(
            f"no request is recorded from {rfc3339(from_ms)} to {rfc3339(to_ms)} (they are kept for 7 days)"
        ) from None
    except LookupError as error:
        if isinstance(error, (KeyError, IndexError)):
            raise  # a bug; a topic that is missing is a LookupError
        raise Refused(str(error)) from None
    except KafkaError as error:
        raise refused_by_kafka(settings.kafka.bootstrap, error) from None


def _changed(catalog: Catalog, file: Path) -> Catalog:
    """The catalog with the policy of a file. Raises Refused, with the line and path of each problem."""
    templates = frozenset(name for name in catalog.templates if catalog.template(name) is not None)
    return Catalog(_parsed(file, templates), catalog.policy_version + 1, catalog.templates, catalog.bounds)


def _parsed(file: Path, templates: Collection[str] | None) -> Policy:
    try:
        return parse_policy(file.read_text(), templates=templates)
    except PolicyError as error:
        raise Refused(f"{file} can't be used\n{error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file} can't be read: {error}") from None


class _Progress:
    """A bar on standard error, so that what is printed can be piped."""

    def __enter__(self) -> "_Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("recorded", total=None)
        self._bar.start()
        return self

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class Steps:
    """Lines on standard error that a program reads."""

    def __enter__(self) -> None:
        """There is nothing to begin."""

    def __call__(self, done: int, total: int) -> None:
        print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""


def end_with_standard_input() -> None:
    """Whoever runs this holds the other end: when they are gone, however they went, nobody waits for the answer. It is
    interrupted, as by a person, so that what it keeps of users goes."""

    def wait() -> None:
        while os.read(0, 1024):  # (not sys.stdin, whose lock would be held when the process ends)
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_GRACE_S)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # (whoever runs in the background may have it ignored)
    threading.Thread(target=wait, name="standard input", daemon=True).start()


# --- showing it ---


def _as_json(question: "Question", answer: "Answer") -> dict[str, Any]:
    return {
        "from": rfc3339(question.from_ms),
        "to": rfc3339(question.to_ms),
        "first_request_at": None if answer.first_ms is None else rfc3339(answer.first_ms),
        "read": dict(answer.read),
        "hidden": answer.hidden,
        "refused": dict(answer.refused),
        **answer.comparison.as_json(),
    }


def _print(question: "Question", answer: "Answer", against: Path | None) -> None:
    comparison = answer.comparison
    in_force = "version " + str(question.now.policy_version) if against is None else str(against)
    first = f", the first at {rfc3339(answer.first_ms)}" if answer.first_ms is not None else ""
    print(f"{answer.requests} requests from {rfc3339(question.from_ms)} to {rfc3339(question.to_ms)}{first}")
    print(f"now: {in_force}\n\nWhat would have become of each recipient's channels")
    rows = [
        {**kind._asdict(), "now": now or None, "new": new or None, "change": f"{new - now:+d}" if new != now else None}
        for kind, now, new in comparison.kinds()
    ]
    print_rows(rows, ("category", "channel", "outcome", "reason", "now", "new", "change"), as_json=False)
    _print_changes(comparison)
    _print_users(comparison)
    if answer.hidden:
        print(f"\n{answer.hidden} records of users who were erased since were not used.")


def _print_changes(comparison: "Comparison") -> None:
    if not comparison.changes:
        print("\nNothing would change.")
        return
    print("\nWhat would change")
    changes = comparison.changes.most_common(_SHOWN_CHANGES)
    rows = [{**change._asdict(), "count": n, "users": comparison.users_of[change]} for change, n in changes]
    print_rows(rows, ("category", "channel", "now", "new", "count", "users"), as_json=False)
    if len(comparison.changes) > _SHOWN_CHANGES:
        print(f"and {len(comparison.changes) - _SHOWN_CHANGES} kinds of change more (--json shows all)")


def _print_users(comparison: "Comparison") -> None:
    print(
        f"\n{comparison.users} users; for {comparison.differing} something differs, and {comparison.noticing} would "
        "notice: more messages, fewer, or at another time (by a minute or more)"
    )
    rows = []
    for user in comparison.most_changed:
        first = user.examples[0]
        example = f"{first['notification_id']} by {first['channel']}: {first['now']} → {first['new']}"
        sent = {"now": user.sent_now, "new": user.sent_new}
        kinds = {"more": user.more or None, "fewer": user.fewer or None, "other time": user.moved or None}
        rows.append({"user": user.user_id, **sent, **kinds, "for example": example})
    if rows:
        print_rows(rows, ("user", "now", "new", "more", "fewer", "other time", "for example"), as_json=False)
