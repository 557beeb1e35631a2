"""Whatever happens around replays, nothing goes out twice or after an opt-out, and every candidate has one outcome.

Histories are random: requests with chains, collapse keys and several devices; results, doubts and receipts; candidates
of several replays, asked for once or again; opt-outs, cancels, erasures, and time that passes. The senders are played
by their results.
"""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.instants import rfc3339
from schemas.sends import Send
from schemas.words import Channel
from tests.agents.harness import HOUR, MINUTE, POLICY, Harness

REPLAYS = [f"{n}{n}{n}{n}{n}{n}{n}{n}-2222-4333-8444-555555555555" for n in (1, 2, 3, 4)]

RULES = POLICY.replace(
    "defaults:\n", "defaults:\n  quiet_hours: {start: '22:00', end: '08:00', channels: [email, sms]}\n"
) + (
    "  payment.failed: {category: orders, template: note, channels: [push, email], "
    "fallback: {chain: [push, sms, email], wait: 2m, until: [delivered, opened]}}\n"
    "caps:\n  - {name: mails, channel: email, limit: 2, window: 6h, over: defer}\n"
    "  - {name: all, limit: 6, window: 24h}\n"
)

_ENDS = ("sent", "failed", "failed", "failed", "expired", "unknown", "in_doubt")
#: Which send, counted from the latest.
_places = st.integers(0, 5)
_ask = st.tuples(
    st.just("ask"),
    st.sampled_from(("mail.sent", "mail.sent", "order.shipped", "payment.failed")),
    st.sampled_from((None, "a", "a")),
    st.sampled_from((None, None, None, 30 * MINUTE)),
)
_end = st.tuples(st.just("end"), _places, st.sampled_from(_ENDS))
_replay = st.tuples(
    st.just("replay"),
    _places,
    st.sampled_from(REPLAYS),
    st.fixed_dictionaries({"dry_run": st.just(False), "as_decided": st.booleans(), "renewed": st.booleans()}),
)
_receipt = st.tuples(st.just("receipt"), _places, st.sampled_from(("delivered", "opened", "bounced")))
_pass = st.tuples(st.just("pass"), st.sampled_from((MINUTE, 2 * MINUTE, HOUR, 11 * HOUR, 13 * HOUR)))
_ask_again = st.one_of(
    st.tuples(st.just("dry run"), _places, st.sampled_from(REPLAYS)), st.tuples(st.just("read again"), _places)
)
_command = st.one_of(
    st.tuples(st.just("prefer"), st.sampled_from(("push", "email", "sms")), st.sampled_from((True, True, False))),
    st.tuples(st.just("cancel"), _places),
)
#: (What is weighed by a number is drawn by one: a choice between many is not even.)
_actions = st.integers(0, 99).flatmap(
    lambda n: next(
        each
        for most, each in (
            (20, _ask),
            (45, _end),
            (70, _replay),
            (80, _receipt),
            (90, _pass),
            (96, _ask_again),
            (99, _command),
        )
        if n <= most
    )
)

#: Of one notification, channel and device: all that was made there.
_Where = tuple[str, Channel, str | None]


class History:
    """A router, its senders, and what they know by themselves of who got what."""

    def __init__(self) -> None:
        self.router = Harness(policy=RULES)
        self.router.known()
        self.router.device(device_id="d2")
        self.ends: dict[str, str] = {}
        self.doubted: set[str] = set()
        self.came_back: set[str] = set()
        self.out: set[str] = set()
        self.seen = self.taken_back = 0
        self.requests: list[Any] = []
        self.asked: dict[tuple[str, str], None] = {}
        self.erased = False

    def play(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("ask", kind, key, lasts):
                fields = {} if key is None else {"collapse_key": key}
                fields |= {} if lasts is None else {"expires_at": rfc3339(self.router.now + lasts)}
                self.router.request(event_type=kind, **fields)
            case ("end", place, status):
                self._end(place, status)
            case ("receipt", place, status) if (send := self._send(place)) is not None:
                if not self.erased:
                    self.came_back.add(send.send_id)
                self.router.receipt(send, status)
            case ("replay", place, replay_id, ways) if (send := self._candidate(place)) is not None:
                self._replay(send, replay_id, **ways)
            case ("dry run", place, replay_id) if (send := self._send(place)) is not None:
                self._replay(send, replay_id, renewed=True, dry_run=True)
            case ("read again", place) if self.requests:
                record = self.requests[-1 - place % len(self.requests)]
                self.router.feed(record.topic, record.key, record.value)
            case ("prefer", channel, wanted):
                (self.out.discard if wanted else self.out.add)(channel)
                self.router.command("preferences.patch", preferences={"channels": {channel: wanted}})
            case ("cancel", place) if (send := self._send(place)) is not None:
                self.router.command("notification.cancel", notification_id=send.notification_id)
            case ("erase",):
                self.router.command("user.erase")
                self.erased = True
            case ("pass", ms):
                self.router.after(ms)
        self._look()

    def _send(self, place: int) -> Send | None:
        sends = [send for send in self.router.sends if send.channel != "in_app"]
        return sends[-1 - place % len(sends)] if sends else None

    def _candidate(self, place: int) -> Send | None:
        """Mostly one that ended unsent, as a job finds them."""
        unsent = [s for s in self.router.sends if self.ends.get(s.send_id) in ("failed", "expired", "unknown")]
        return unsent[-1 - place % len(unsent)] if unsent and place else self._send(place)

    def _end(self, place: int, status: str) -> None:
        send = self._send(place)
        if send is None or send.send_id in self.ends:
            return
        if status == "in_doubt":
            self.doubted.add(send.send_id)
        else:
            if status == "failed" and send.send_id in self.doubted:
                status = "unknown"  # as a sender ends what may have arrived
            self.ends[send.send_id] = status
        reason = {"reason": "retries_exhausted"} if status == "failed" else {}
        self.router.settled(send, status, **reason)

    def _replay(self, send: Send, replay_id: str, *, renewed: bool, **ways: bool) -> None:
        fields = {"expires_at": self.router.now + 12 * HOUR} if renewed else {}
        events = len(self.router.events)
        answers = self.router.replay(send, replay_id, **fields, **ways)
        self.requests.append(self.router.log[-1])
        assert {answer["send_id"] for answer in answers} == {send.send_id}
        if ways.get("dry_run"):
            assert len(answers) == 1
            assert answers[0]["dry_run"]
            assert len(self.router.events) == events
        else:
            assert answers
            self.asked[replay_id, answers[-1]["send_id"]] = None

    # --- what must hold ---

    def _look(self) -> None:
        """Senders take back what they are asked to, unless it may have arrived; then each new send is looked at."""
        for withdrawn in self.router.withdrawals[self.taken_back :]:
            name = withdrawn.send_id
            if name not in self.ends and name not in self.doubted:
                self.ends[name] = withdrawn.status
                send = next(send for send in self.router.sends if send.send_id == name)
                self.taken_back += 1
                self.router.settled(send, withdrawn.status, reason=withdrawn.reason)
            else:
                self.taken_back += 1
        new, self.seen = self.router.sends[self.seen :], len(self.router.sends)
        for send in new:
            assert send.channel not in self.out
            if send.replay_id is not None:
                self._judge(send, {each.send_id for each in new})

    def _judge(self, send: Send, new: set[str]) -> None:
        where = _where(send)
        for other in self.router.sends:
            name = other.send_id
            if name in new:
                assert name == send.send_id or _where(other) != where
            elif _where(other) == where:
                assert name in self.ends, "one is open"
                assert self.ends[name] != "sent"
                assert name not in self.came_back
        if send.collapse_key is not None:
            self._not_older(send)

    def _not_older(self, send: Send) -> None:
        """Nothing newer of its key is at the recipient's, or on its way there."""
        for other in self.router.sends:
            if (other.collapse_key, other.channel) != (send.collapse_key, send.channel):
                continue
            if (other.first_accepted_at or other.accepted_at) <= (send.first_accepted_at or send.accepted_at):
                continue
            assert self.ends.get(other.send_id, "open") not in ("open", "sent")

    def check(self) -> None:
        sent: dict[_Where, int] = defaultdict(int)
        for send in self.router.sends:
            sent[_where(send)] += self.ends.get(send.send_id) == "sent"
        assert not [where for where, times in sent.items() if times > 1]
        self._check_events()
        self._check_outcomes()

    def _check_events(self) -> None:
        accepted: dict[str, int] = defaultdict(int)
        ended: dict[str, int] = defaultdict(int)
        for event in self.router.events:
            if event["replay_id"] is None or event["status"] in ("delivered", "opened", "bounced"):
                continue
            assert event["channel"] is not None
            accepted[event["send_id"]] += event["status"] == "accepted"
            ended[event["send_id"]] += event["status"] not in ("accepted", "queued", "held")
        assert set(accepted.values()) <= {1}
        for send in self.router.sends:
            if send.replay_id is not None:
                assert accepted[send.send_id] == 1
                assert ended[send.send_id] == 0, "it is the sender that ends it"
        assert max(ended.values(), default=0) <= 1

    def _check_outcomes(self) -> None:
        """The last answer for each candidate, whatever was asked again."""
        last: dict[tuple[str, str], dict[str, Any]] = {}
        for answer in self.router.outcomes:
            if not answer.get("dry_run"):
                last[answer["replay_id"], answer["send_id"]] = answer
        assert last.keys() == self.asked.keys()
        begun = {answer["new_send_id"] for answer in last.values() if "new_send_id" in answer}
        accepted = {e["send_id"] for e in self.router.events if e["status"] == "accepted" and e["replay_id"]}
        assert begun == accepted
        for answer in last.values():
            if (name := answer.get("new_send_id")) is None:
                continue
            if name in self.ends:
                assert answer["outcome"] == self.ends[name]
            elif name in {send.send_id for send in self.router.sends}:
                assert answer["outcome"] == "waiting"


def _where(send: Send) -> _Where:
    return send.notification_id, send.channel, send.device_id


@settings(max_examples=300, deadline=None)
@given(st.lists(_actions, min_size=15, max_size=60), st.lists(_actions, max_size=6), st.booleans())
def test_nothing_goes_out_twice_or_after_an_opt_out_and_outcomes_add_up(
    actions: list[tuple[Any, ...]], more: list[tuple[Any, ...]], erased: bool
) -> None:
    history = History()
    history.play(("ask", "order.shipped", None, None))
    for action in (*actions, *([("erase",)] if erased else []), *more):
        history.play(action)
    history.router.after(48 * HOUR)
    history.check()
