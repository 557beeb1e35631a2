"""Judges a history by what is promised (docs/reliability.md), from the log's bytes and the providers' ledgers alone.

It shares no code with the system: statuses, ranks and rules are written down here once more.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tests.simulation.broker import Record
from tests.simulation.vendors import Made
from tests.simulation.world import ATTEMPTS, History

_ENDS = {"sent", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown"}
_BACK = {"delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed"}
_RANKS = {
    "accepted": 0,
    "repeated": 0,
    "scheduled": 1,
    "held": 1,
    "queued": 2,
    **dict.fromkeys(("sending", "in_doubt", "retrying"), 3),
    **dict.fromkeys(_ENDS, 4),
    **dict.fromkeys(_BACK, 5),
}
_RESENT = {"security"}
_EVENTS = ("notify_events_critical", "notify_events", "notify_events_bulk")
_NEVER_OPTED_OUT = {"security"}

Event = Mapping[str, Any]


def violations(history: History) -> list[str]:
    """What is wrong, each in a sentence; nothing where all is well."""
    if history.stuck is not None:
        return [f"STUCK: {history.stuck}"]
    return [*Checker(history).all()]


class Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._events: list[Event] = []
        self._twice: list[str] = []
        bytes_of: dict[str, bytes] = {}
        for record in history.broker.of("notify_lifecycle"):
            assert record.value is not None
            event = json.loads(record.value)
            first = bytes_of.setdefault(event["event_id"], record.value)
            if first is record.value:
                if event["status"] != "device_retired":  # (of a device: in no balance)
                    self._events.append(event)
            elif first != record.value:
                self._twice.append(f"SAME: event {event['event_id']} ({event['status']}) has two texts")
        self._sends = self._read_sends()
        self._made: dict[str, list[Made]] = defaultdict(list)
        for vendor in history.vendors:
            for made in vendor.ledger:
                self._made[made.send_id].append(made)
        self._of_send: dict[str, list[Event]] = defaultdict(list)
        for event in self._events:
            if event["send_id"] is not None:
                self._of_send[event["send_id"]].append(event)

    def all(self) -> Iterator[str]:
        yield from self._twice
        yield from self._bugs()
        yield from self._accepted()
        yield from self._balance()
        yield from self._replays()
        yield from self._outcomes()
        yield from self._order()
        yield from self._doubles()
        yield from self._phantoms()
        yield from self._attempts()
        yield from self._too_late()
        yield from self._forbidden()
        yield from self._unheard()
        yield from self._counted()

    def _counted(self) -> Iterator[str]:
        """Metrics count each end once, whoever carries its checkpoint out; those of a process that dies are gone."""
        ended = {event["event_id"] for event in self._events if event["status"] in _ENDS}
        for event_id, times in Counter(self._history.broker.counted).items():
            if times > 1:
                yield f"COUNTED: the end {event_id} was counted {times} times"
            if event_id not in ended:
                yield f"COUNTED: the end {event_id} was counted and is not in the log"
        if ended and not self._history.broker.counted:
            yield "COUNTED: no end was counted"

    # --- reading ---

    def _read_sends(self) -> dict[str, Mapping[str, Any]]:
        sends: dict[str, Mapping[str, Any]] = {}
        for record in self._history.broker.everything:
            if record.topic.startswith("notify_send_") and record.value is not None:
                said = json.loads(record.value)
                if said["kind"] != "send":
                    continue
                if sends.setdefault(said["send_id"], said) != said:
                    self._twice.append(f"SAME: send {said['send_id']} was queued with two texts")
        return sends

    # --- rules ---

    def _bugs(self) -> Iterator[str]:
        for entry in self._history.logged:
            if entry["log_level"] == "error" and entry["event"] != "partition stopped":
                yield f"BUG: {entry}"
        for group in self._history.groups:
            yield from (f"BUG: {bug}" for bug in group.bugs)
            yield from (f"COMMIT: {broken}" for broken in group.broken)
        yield from (f"REPLAY: {differing}" for differing in self._history.differing)
        for record in self._history.broker.of("notify_dead"):
            assert record.value is not None
            letter = json.loads(record.value)
            if "internal" in letter["reason"]:
                yield f"BUG: dead letter {letter['topic']}:{letter['offset']}: {letter['reason']}"

    def _accepted(self) -> Iterator[str]:
        """Each request of its own once; of those that repeat another, all are told."""
        wanted: Counter[tuple[str, str]] = Counter()
        keyless: Counter[str] = Counter()
        keyed: dict[str, set[str]] = defaultdict(set)
        total: Counter[str] = Counter()
        for record in self._requests():
            said = json.loads(record.value or b"")
            user = said["user_id"]
            total[user] += 1
            if "notification_id" in said:
                wanted[said["notification_id"], user] += 1
            elif "idempotency_key" in said:
                keyed[user].add(said["idempotency_key"])
            else:
                keyless[user] += 1
        told = [e for e in self._events if e["source"] != "tocsin" and e["replay_id"] is None]
        accepted = Counter((e["notification_id"], e["user_id"]) for e in told if e["status"] == "accepted")
        repeated = Counter((e["notification_id"], e["user_id"]) for e in told if e["status"] == "repeated")
        for one, times in wanted.items():
            if accepted[one] != 1 or repeated[one] != times - 1:
                yield f"ACCEPTED: {one} was asked for {times} times, accepted {accepted[one]}, repeated {repeated[one]}"
        for user, asked in total.items():
            named = sum(1 for nid, its in wanted if its == user)
            expected = named + keyless[user] + len(keyed[user])
            found = sum(count for (_, its), count in accepted.items() if its == user)
            again = sum(count for (_, its), count in repeated.items() if its == user)
            if found != expected or found + again != asked:
                yield f"ACCEPTED: {user} asked {asked} times for {expected}: {found} accepted, {again} repeated"

    def _requests(self) -> Iterator[Record]:
        """What was produced from outside and can be read."""
        for record in self._history.broker.everything:
            ours = record.topic in _EVENTS and not record.headers
            if ours and record.value is not None and record.value.startswith(b'{"'):
                yield record

    def _balance(self) -> Iterator[str]:
        """Every recipient has something, every channel that was begun (on push every device) one end."""
        by: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in self._events:
            by[event["notification_id"], event["user_id"]].append(event)
        for one, events in by.items():
            begun = [e for e in events if e["status"] not in ("accepted", "repeated") and e["status"] not in _BACK]
            whole = [e["status"] for e in begun if e["channel"] is None and e["status"] in _ENDS]
            parts = {(e["channel"], e["send_id"]) for e in begun if e["channel"] is not None}
            if len(whole) != (0 if parts else 1):
                yield f"BALANCE: {one} has {whole} for the whole, and {len(parts)} channels"
            sent = {channel for channel, send_id in parts if send_id is not None}
            for channel, send_id in parts:
                wanted = 0 if send_id is None and channel in sent else 1  # held as a channel, it became sends
                ends = [
                    e["status"]
                    for e in begun
                    if (e["channel"], e["send_id"]) == (channel, send_id) and e["status"] in _ENDS
                ]
                if len(ends) != wanted:
                    yield f"BALANCE: {one} {channel} {send_id or ''} has ended {len(ends)} times: {ends}"

    def _replays(self) -> Iterator[str]:
        """A send of a replay is accepted once; and of a notification that was replayed, at most one send on each
        channel, on push to each device, was sent. What ended as unknown may be sent again: so it was asked for."""
        made: dict[tuple[Any, ...], set[str]] = defaultdict(set)
        accepted = Counter(e["send_id"] for e in self._events if e["status"] == "accepted")
        for send_id, events in self._of_send.items():
            event = events[0]
            device = self._sends[send_id].get("device_id") if send_id in self._sends else None
            made[event["notification_id"], event["user_id"], event["channel"], device].add(send_id)
            if event["replay_id"] is not None and accepted[send_id] != 1:
                yield f"REPLAYED: {send_id} was accepted {accepted[send_id]} times by a replay"
        for where, sends in made.items():
            if all(self._of_send[send_id][0]["replay_id"] is None for send_id in sends):
                continue
            sent = [each for each in sends if any(e["status"] == "sent" for e in self._of_send[each])]
            taken = [each for each in sends if self._is_taken(each) and self._end_of(each) != "unknown"]
            if len(sent) > 1 or len(taken) > 1:
                yield f"REPLAYED: {where} was sent as {sent} and taken as {taken}"

    def _is_taken(self, send_id: str) -> bool:
        return any(made.accepted is not None for made in self._made.get(send_id, ()))

    def _end_of(self, send_id: str) -> str | None:
        return next((e["status"] for e in self._of_send[send_id] if e["status"] in _ENDS), None)

    def _outcomes(self) -> Iterator[str]:
        """Every candidate of a replay has an outcome, which in the end is what became of its send."""
        asked, last = dict[tuple[str, str], int](), dict[tuple[str, str], Mapping[str, Any]]()
        for record in self._history.broker.of("tocsin_replay_requests"):
            said = json.loads(record.value or b"")
            if not said.get("dry_run"):
                asked[said["replay_id"], said["send"]["send_id"]] = record.offset
        for record in self._history.broker.of("tocsin_replay_outcomes"):
            said = json.loads(record.value or b"")
            if not said.get("dry_run"):
                last[said["replay_id"], said["send_id"]] = said
        for candidate in asked.keys() ^ last.keys():
            yield f"OUTCOME: {candidate} was {'asked for' if candidate in asked else 'answered'} only"
        begun = {said["new_send_id"] for said in last.values() if said.get("new_send_id")}
        told = {e["send_id"] for e in self._events if e["replay_id"] is not None and e["status"] == "accepted"}
        if begun != told:
            yield f"OUTCOME: reported as begun {sorted(begun - told)}, not reported {sorted(told - begun)}"
        for candidate, said in last.items():
            end = self._end_of(said.get("new_send_id") or "")
            if end is None:
                if said["outcome"] in ("waiting", "sent", "failed", "unknown"):
                    yield f"OUTCOME: {candidate} is {said['outcome']}, and nothing of it has ended"
            elif said["outcome"] != end and end != "suppressed":
                yield f"OUTCOME: {candidate} is {said['outcome']}, its send has ended {end}"
            elif end == "suppressed" and said["outcome"] not in ("suppressed", "opted_out", "erased"):
                yield f"OUTCOME: {candidate} is {said['outcome']}, its send was suppressed"

    def _order(self) -> Iterator[str]:
        """A status that is shown never moves back, except into or out of a hold."""
        for send_id, events in self._of_send.items():
            shown = 0
            for event in sorted(events, key=lambda e: _at(e["occurred_at"])):
                rank = _RANKS[event["status"]]
                if event["status"] in _BACK:
                    continue
                if rank < shown and not (event["status"] == "held" and shown < 4):
                    yield f"REGRESS: {send_id} {event['status']} after rank {shown}"
                shown = rank if event["status"] != "held" else min(shown, 3)

    def _doubles(self) -> Iterator[str]:
        """No provider takes a send twice, unless it was in doubt and its category's rule is to send again."""
        for send_id, calls in self._made.items():
            taken = [made for made in calls if made.accepted is not None]
            if len(taken) < 2:
                continue
            told = self._of_send[send_id]
            doubts = sum(e["status"] == "in_doubt" for e in told)
            category = self._sends[send_id]["category"] if send_id in self._sends else None
            allowed = 2 if doubts and category in _RESENT else 1
            if len(taken) > allowed:
                yield f"DUP: {send_id} ({category}) was accepted {len(taken)} times, {doubts} times in doubt"
            if doubts and all(v.can_be_asked for v in self._history.vendors if v.name == taken[0].provider):
                known = taken[0].accepted is not None and taken[0].kind != "too_late"
                if known and not any(made.kind == "too_late" for made in taken):
                    yield f"DUP: {send_id} was sent again though {taken[0].provider} could have been asked"

    def _phantoms(self) -> Iterator[str]:
        """Nothing reaches a provider that wasn't queued; and what was accepted is never said to have failed."""
        for send_id, calls in self._made.items():
            statuses = [e["status"] for e in self._of_send[send_id]]
            if send_id not in self._sends or "queued" not in statuses or "sending" not in statuses:
                yield f"PHANTOM: {send_id} was called, its events are {statuses}"
            ends = [status for status in statuses if status in _ENDS]
            taken = any(made.accepted is not None for made in calls)
            if taken and ends and ends[0] not in ("sent", "unknown"):
                yield f"FALSE: {send_id} was accepted and is told as {ends[0]}"
            if not taken and ends == ["sent"]:
                yield f"FALSE: {send_id} is told as sent and was never accepted"

    def _attempts(self) -> Iterator[str]:
        """Throttling uses up no attempt, and no more are made than the policy allows."""
        for send_id, calls in self._made.items():
            counted = sum(made.kind != "throttle" for made in calls)
            told = self._of_send[send_id]
            doubts = sum(e["status"] == "in_doubt" for e in told)
            if counted > ATTEMPTS + 1:
                yield f"BURN: {send_id} was called {counted} times"
            exhausted = any(e["reason"] == "retries_exhausted" for e in told)
            if exhausted and counted < ATTEMPTS - doubts:
                yield f"BURN: {send_id} used up its attempts in {counted} calls and {doubts} doubts"

    def _too_late(self) -> Iterator[str]:
        for send_id, calls in self._made.items():
            send = self._sends.get(send_id)
            for made in calls:
                if send is not None and made.wall > send["expires_at"] + 1_000:
                    yield f"LATE: {send_id} was called {made.wall - send['expires_at']} ms after it expired"

    def _forbidden(self) -> Iterator[str]:
        """No call more than a second after a command was acknowledged that forbids it."""
        commands: dict[str, list[tuple[float, Mapping[str, Any]]]] = defaultdict(list)
        for record in self._history.broker.of("notify_commands"):
            said = json.loads(record.value or b"")
            if said.get("user_id") is not None:
                commands[said["user_id"]].append((record.landed, said))
        for send_id, calls in self._made.items():
            send = self._sends.get(send_id)
            for made in calls:
                if send is None:
                    continue
                end_offset = commands[send["user_id"]]
                why = _forbids([said for at, said in end_offset if at <= made.began - 1.0], send)
                if why is None:
                    continue
                later = [said for at, said in end_offset if made.began - 1.0 < at <= made.began]
                old = [said for at, said in end_offset if at <= made.began - 1.0]
                if all(_forbids([*old, *later[: n + 1]], send) for n in range(len(later))):
                    last = max(at for at, _ in end_offset if at <= made.began - 1.0)
                    yield f"WRONG: {send_id} was called at {made.began:.3f} s in spite of {why} (by {last:.3f} s)"

    def _unheard(self) -> Iterator[str]:
        """What was queued was judged by all commands that had been acknowledged before its request was produced."""
        commands: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
        asked: dict[tuple[str, str], int] = {}
        seen: set[str] = set()
        for number, record in enumerate(self._history.broker.everything):
            if record.topic == "notify_commands":
                said = json.loads(record.value or b"")
                if said.get("user_id") is not None:
                    commands[said["user_id"]].append((number, said))
            elif record.topic in _EVENTS and b"notification_id" in (record.value or b""):
                said = json.loads(record.value or b"")
                asked.setdefault((said["notification_id"], said["user_id"]), number)
            elif record.topic.startswith("notify_send_"):
                send = json.loads(record.value or b"")
                about = send.get("notification_id"), send.get("user_id")
                if send["kind"] != "send" or about not in asked or send["send_id"] in seen:
                    continue
                seen.add(send["send_id"])
                before = [said for at, said in commands[send["user_id"]] if at < asked[about]]
                later = [said for at, said in commands[send["user_id"]] if at > asked[about]]
                judged = [_forbids([*before, *later[:n]], send) for n in range(len(later) + 1)]
                if all(why not in (None, "notification.cancel") for why in judged):
                    yield f"WRONG: {send['send_id']} was queued in spite of {judged[0]}, said before its request"


def _forbids(commands: list[Mapping[str, Any]], send: Mapping[str, Any]) -> str | None:
    """Why these commands, in their order, forbid a call for the send; None where they don't."""
    erased, wishes, cancelled = False, dict[str, Any](), False
    devices: set[str] = set()
    seen: set[str] = set()
    for said in commands:
        if said["id"] in seen:
            continue
        seen.add(said["id"])
        kind = said["type"]
        if kind == "profile.set":
            erased = False
        elif erased:
            continue
        elif kind == "user.erase":
            erased, wishes, devices = True, {}, set()
        elif kind == "preferences.patch":
            wishes = _merged(wishes, said["preferences"])
        elif kind == "device.add":
            devices.add(said["device_id"])
        elif kind == "device.remove" and "token_hash" not in said:
            devices.discard(said["device_id"])
        elif kind == "notification.cancel":
            named = said.get("notification_id") == send["notification_id"]
            cancelled |= named or said.get("campaign_id", "") == send.get("campaign_id")
    if erased:
        return "user.erase"
    if cancelled:
        return "notification.cancel"
    if send["channel"] == "push" and send.get("device_id") not in devices:
        return "device.remove"
    loud = send["priority"] != "critical" and send["category"] != "security" and send["channel"] != "in_app"
    if loud and wishes.get("dnd", {}).get("enabled"):
        return "dnd"
    wish = wishes.get("categories", {}).get(send["category"], {}).get(send["channel"])
    if wish is False and send["category"] not in _NEVER_OPTED_OUT:
        return "an opt-out"
    return None


def _merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in patch.items():
        if isinstance(value, dict):
            merged[name] = _merged(merged.get(name) or {}, value)
        else:
            merged[name] = value
    return merged


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
