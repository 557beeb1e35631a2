"""Reads a run folder: the client's log, the faults, the sampled offsets and the sandbox's own files."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from faults.checker.values import Asked, BadRun, Call, Campaign, Command, Committed, Injected, Run, Taken, Terms
from faults.checker.words import LOSING, SWEEPING

Value = TypeVar("Value")


def read_run(folder: Path) -> Run:
    """Raises BadRun, which names file, line and field."""
    terms = read_terms(folder / "run.json")
    asked = tuple(_lines(folder / "accepted.jsonl", _asked))
    if not asked:
        raise BadRun(f"{folder / 'accepted.jsonl'}: holds no request, so there is nothing to judge")
    sandbox = folder / "sandbox"
    return Run(
        terms,
        asked,
        tuple(_lines(folder / "commands.jsonl", _command)),
        tuple(_lines(folder / "injected.jsonl", _injected)),
        tuple(_lines(folder / "offsets.jsonl", _committed)),
        tuple(each for each in _lines(sandbox / "calls.jsonl", call_reader(terms)) if each is not None),
        tuple(each for each in _lines(sandbox / "accepted.jsonl", _taken) if each.at_ms >= terms.started_ms),
        tuple(_lines(folder / "campaigns.jsonl", _campaign)),
    )


def read_terms(path: Path) -> Terms:
    """The file ``run.json``. Raises BadRun."""
    if not path.exists():
        raise BadRun(f"{path}: is missing; the run folder's run.json says what the run was made under")
    said = _object(path, 1, path.read_bytes())
    try:
        return Terms(
            name=said["name"],
            seed=said["seed"],
            bootstrap=said["bootstrap"],
            started_ms=int(said["started_ms"]),
            quiesced_ms=int(said["quiesced_ms"]),
            settle_ms=int(said.get("in_doubt_settle_ms") or 300_000),
            clickhouse_url=said.get("clickhouse_url"),
            timeout_ms=int(said.get("timeout_ms") or 15_000),
            slack_ms=int(said.get("slack_ms") or 500),
            policy=said.get("policy") or {},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRun(f"{path}: {_blame(error)}") from None


def _lines(path: Path, read: Callable[[Mapping[str, Any]], Value]) -> Iterator[Value]:
    if not path.exists():
        raise BadRun(f"{path}: is missing; an empty file says that there was none")
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.endswith(b"\n"):  # a kill may leave the last one half written, and nobody was answered for it
                try:
                    yield read(_object(path, number, raw))
                except (KeyError, TypeError, ValueError) as error:
                    raise BadRun(f"{path}, line {number}: {_blame(error)}") from None


def _object(path: Path, number: int, raw: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRun(f"{path}, line {number}: {error}") from None
    if not isinstance(said, dict):
        raise BadRun(f"{path}, line {number}: is no JSON object")
    return said


def _blame(error: Exception) -> str:
    return f"{error.args[0]}: is missing" if isinstance(error, KeyError) else str(error)


def _asked(said: Mapping[str, Any]) -> Asked:
    placed = said.get("topic") is not None and said.get("offset") is not None
    poison = bool(said.get("poison"))
    if said.get("notification_id") is None and not poison:
        raise ValueError("notification_id: is missing, and the request isn't marked as poison")
    return Asked(
        at_ms=int(said["at_ms"]),
        via=said["via"],
        user_id=said["user_id"],
        source=said["source"],
        notification_id=said.get("notification_id"),
        idempotency_key=said.get("idempotency_key"),
        expires_at_ms=said.get("expires_at_ms"),
        place=(said["topic"], int(said["partition"]), int(said["offset"])) if placed else None,
        poison=poison,
        request=said["request"] if isinstance(said.get("request"), dict) else {},
    )


def _command(said: Mapping[str, Any]) -> Command:
    fields = said["command"]
    if not isinstance(fields, dict) or "type" not in fields:
        raise ValueError("command: is no command record, which has a type")
    return Command(int(said["at_ms"]), fields)


def _injected(said: Mapping[str, Any]) -> Injected:
    until = said.get("until_ms")
    role, in_flight = said.get("role"), int(said.get("in_flight") or 0)
    return Injected(int(said["at_ms"]), until, said["fault"], role, in_flight, said.get("clock_ms"))


def _committed(said: Mapping[str, Any]) -> Committed:
    rewound = bool(said.get("rewound"))
    return Committed(
        int(said["at_ms"]), said["group"], said["topic"], int(said["partition"]), int(said["offset"]), rewound
    )


def _campaign(said: Mapping[str, Any]) -> Campaign:
    return Campaign(
        notification_id=said["notification_id"],
        source=said["source"],
        users=frozenset(said["users"]),
        status=said["status"],
        recipients=int(said["recipients"]),
        produced=int(said["produced"]),
        holds=tuple((int(hold["from_ms"]), hold.get("until_ms")) for hold in said["holds"]),
        allowance_ms=int(said["allowance_ms"]),
    )


def call_reader(terms: Terms) -> Callable[[Mapping[str, Any]], Call | None]:
    """Reads a line of the sandbox's ``calls.jsonl``; None: it isn't of this run's time, or no call to send."""

    def read(said: Mapping[str, Any]) -> Call | None:
        at_ms = int(said["at_ms"])
        if said["operation"] != "send" or at_ms < terms.started_ms:
            return None
        late = int(said.get("delay_ms") or 0) >= terms.timeout_ms
        lost = int(said.get("fault") in LOSING or late) + int(said.get("swept") or 0)
        return Call(
            at_ms,
            said["provider"],
            said["outcome"],
            said.get("address"),
            said.get("send_id"),
            said.get("attempt"),
            lost,
            said.get("fault") in SWEEPING,
        )

    return read


def _taken(said: Mapping[str, Any]) -> Taken:
    return Taken(
        int(said["at_ms"]), said["provider"], said.get("send_id"), said.get("notification_id"), said["address"]
    )
