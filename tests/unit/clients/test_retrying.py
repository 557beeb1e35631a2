"""Calls end in time, are made again only where that is safe, and then with the same key."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.clients.samples import samples
from tocsin.client import (
    AsyncTocsin,
    BadAnswer,
    Conflict,
    NotFound,
    ProblemError,
    Retrying,
    Tocsin,
    TocsinError,
    TooMany,
    Unauthorized,
    Unavailable,
    Unreachable,
    backoff,
)
from tocsin.client.attempts import Answer, Attempts
from tocsin.client.calls import Call
from tocsin.client.retrying import pause_after_answer, retry_after_s

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ACCEPTED = {"notification_id": "n", "recipients": 1, "status": "accepted"}
Handler = Callable[[httpx.Request], httpx.Response]


class World:
    """A gateway that does as ``handle`` says, and a clock that only waiting moves."""

    def __init__(self, handle: Handler) -> None:
        self.asked: list[httpx.Request] = []
        self.waited: list[float] = []
        self.now = 0.0
        self._handle = handle

    def answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return self._handle(request)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    async def pause(self, seconds: float) -> None:
        self.sleep(seconds)


class Both:
    """Asks by the blocking client, or by the awaiting one."""

    def __init__(self, awaiting: bool) -> None:
        self._awaiting = awaiting

    def ask(
        self,
        world: World,
        ask: Callable[[Any], Any],
        key: str | Callable[[], str] = "a.key",
        follow_redirects: bool = False,
        **options: Any,
    ) -> Any:
        retrying = Retrying(**{"pause_s": backoff(chance=lambda: 1.0), **options})
        transport = httpx.MockTransport(world.answer)
        if not self._awaiting:
            with httpx.Client(transport=transport, follow_redirects=follow_redirects) as http:
                client = Tocsin(
                    "http://gateway", key, retrying=retrying, http=http, clock=world.clock, sleep=world.sleep
                )
                return ask(client)

        async def asked() -> Any:
            async with httpx.AsyncClient(transport=transport, follow_redirects=follow_redirects) as http:
                client = AsyncTocsin(
                    "http://gateway", key, retrying=retrying, http=http, clock=world.clock, sleep=world.pause
                )
                found: Awaitable[Any] = ask(client)
                return await found

        return asyncio.run(asked())


@pytest.fixture(params=["blocking", "awaiting"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param == "awaiting")


def in_turn(*answers: httpx.Response | Exception) -> Handler:
    left = list(answers)

    def handle(_: httpx.Request) -> httpx.Response:
        each = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(each, Exception):
            raise each
        return each

    return handle


def problem(status: int, **headers: str) -> httpx.Response:
    document = {"type": "about:blank", "title": "No", "status": status, "detail": "not now", "field": "user_id"}
    return httpx.Response(status, json=document, headers={k.replace("_", "-"): v for k, v in headers.items()})


def send(client: Any) -> Any:
    return client.notifications.send(user_id="ann", event_type="a.b")


LOST = (
    httpx.DecodingError("not gzip"),
    httpx.ReadError("gone"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("closed"),
    httpx.WriteError("gone"),
)


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_202_is_asked_for_again_with_the_same_key(both: Both, lost: Exception) -> None:
    world = World(in_turn(lost, problem(503), httpx.Response(202, json=ACCEPTED)))

    assert both.ask(world, send).notification_id == "n"
    keys = [json.loads(request.content)["idempotency_key"] for request in world.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_each_notification_has_a_key_of_its_own(both: Both) -> None:
    world = World(in_turn(httpx.Response(202, json=ACCEPTED)))
    for _ in range(2):
        both.ask(world, send)

    one, other = (json.loads(request.content)["idempotency_key"] for request in world.asked)
    assert one != other


def test_a_given_key_is_kept(both: Both) -> None:
    world = World(in_turn(httpx.Response(202, json=ACCEPTED)))
    both.ask(world, lambda c: c.notifications.send(user_id="ann", event_type="a.b", idempotency_key="mine"))

    assert json.loads(world.asked[0].content)["idempotency_key"] == "mine"


def test_a_cancel_that_half_arrived_goes_on_with_its_key(both: Both) -> None:
    world = World(in_turn(problem(503), httpx.Response(202, json={"notification_id": "n"})))
    both.ask(world, lambda c: c.notifications.cancel("n"))

    one, other = (request.headers["Idempotency-Key"] for request in world.asked)
    assert one == other


@pytest.mark.parametrize("lost", [*LOST, 503], ids=str)
def test_what_would_take_effect_twice_is_not_asked_for_again(both: Both, lost: Exception | int) -> None:
    world = World(in_turn(problem(lost) if isinstance(lost, int) else lost))
    with pytest.raises((Unreachable, Unavailable)) as ended:
        both.ask(world, lambda c: c.users.erase("ann"))

    assert len(world.asked) == 1
    assert not isinstance(ended.value, Unreachable) or ended.value.is_in_doubt


def test_what_was_surely_not_taken_is_asked_for_again(both: Both) -> None:
    taken = httpx.Response(202, json={"erasure_id": "e"})
    world = World(in_turn(httpx.ConnectError("refused"), problem(429), taken))

    assert both.ask(world, lambda c: c.users.erase("ann")).erasure_id == "e"


TAKEN = {"campaign_id": "summer", "notification_id": "n", "status": "running"}
SAID = {"event_type": "a.b", "content": {"title": "t", "body": "b"}}
ROWS: list[Any] = [{"user_id": f"{n}" * 100} for n in range(2_000)]  # several pieces
CSV = [b"user_id\n", b"ann\n", b"bob\n"]
UPLOADS: dict[str, Callable[[Any, Any], Any]] = {
    "rows": lambda client, again: client.campaigns.upload(ROWS if again else iter(ROWS), **SAID),
    "csv": lambda client, again: client.campaigns.upload_csv(CSV if again else iter(CSV), **SAID),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize("came", [429, 503, 408, *LOST, httpx.ConnectError("refused")], ids=str)
def test_an_iterators_rest_is_never_sent_in_its_place(
    both: Both, upload: Callable[..., Any], came: Exception | int
) -> None:
    world = World(in_turn(problem(came) if isinstance(came, int) else came, httpx.Response(202, json=TAKEN)))
    with pytest.raises(TocsinError):
        both.ask(world, lambda client: upload(client, False))

    assert len(world.asked) == 1


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize("came", [429, 503, *LOST], ids=str)
def test_what_can_be_read_again_is_sent_again_whole(
    both: Both, upload: Callable[..., Any], came: Exception | int
) -> None:
    world = World(in_turn(problem(came) if isinstance(came, int) else came, httpx.Response(202, json=TAKEN)))

    assert both.ask(world, lambda client: upload(client, True)).campaign_id == "summer"
    one, other = (request.content for request in world.asked)
    assert one == other
    assert one.count(b"\n") in (len(ROWS), len(CSV))


def test_a_gateway_that_is_away_was_not_asked(both: Both) -> None:
    world = World(in_turn(httpx.ConnectError("refused")))
    with pytest.raises(Unreachable) as ended:
        both.ask(world, send, attempts=3)

    assert not ended.value.is_in_doubt
    assert len(world.asked) == 3


def test_once_in_doubt_always_in_doubt(both: Both) -> None:
    world = World(in_turn(httpx.ReadError("gone"), httpx.ConnectError("refused")))
    with pytest.raises(Unreachable) as ended:
        both.ask(world, send, attempts=2)

    assert ended.value.is_in_doubt


def test_a_deletion_that_was_obeyed_before_its_answer_was_lost_is_done(both: Both) -> None:
    world = World(in_turn(httpx.ReadError("gone"), problem(404)))

    assert both.ask(world, lambda c: c.hooks.delete("h")) is None


@pytest.mark.parametrize("status", [408, 503])
def test_a_deletion_may_have_been_obeyed_whatever_the_answer_lost(both: Both, status: int) -> None:
    world = World(in_turn(problem(status), problem(404)))

    assert both.ask(world, lambda c: c.hooks.delete("h")) is None


def ended() -> httpx.Response:
    return httpx.Response(409, json={"title": "Conflict", "status": 409, "detail": "it has ended", "field": "status"})


#: A call, and what the thing is once it was obeyed.
ENDING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "cancel": (lambda client: client.campaigns.cancel("summer"), "cancelled"),
    "resume": (lambda client: client.campaigns.resume("summer"), "done"),
    "resume a replay": (lambda client: client.replays.resume("r"), "done"),
}
SHOWN = {"campaign_id": "summer", "notification_id": "n", "replay_id": "r", "recipients": 7}


@pytest.mark.parametrize(("ask", "status"), ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("lost", [*LOST, 408, 503], ids=str)
def test_what_was_obeyed_before_its_answer_was_lost_is_no_conflict(
    both: Both, ask: Callable[[Any], Any], status: str, lost: Exception | int
) -> None:
    shown = httpx.Response(200, json={**SHOWN, "status": status})
    world = World(in_turn(problem(lost) if isinstance(lost, int) else lost, ended(), shown))

    assert both.ask(world, ask).status == status
    assert world.asked[-1].method == "GET"


@pytest.mark.parametrize(("ask", "status"), ENDING.values(), ids=ENDING)
def test_what_ended_otherwise_is_a_conflict(both: Both, ask: Callable[[Any], Any], status: str) -> None:
    other = {"cancelled": "done", "done": "cancelled"}[status]
    world = World(in_turn(httpx.ReadError("gone"), ended(), httpx.Response(200, json={**SHOWN, "status": other})))
    with pytest.raises(Conflict, match="it has ended"):
        both.ask(world, ask)


@pytest.mark.parametrize(("ask", "status"), ENDING.values(), ids=ENDING)
def test_what_has_ended_before_it_was_asked_is_a_conflict(both: Both, ask: Callable[[Any], Any], status: str) -> None:
    world = World(in_turn(problem(429), ended()))
    with pytest.raises(Conflict, match="it has ended"):
        both.ask(world, ask)

    assert len(world.asked) == 2


@pytest.mark.parametrize(("ask", "status"), ENDING.values(), ids=ENDING)
@pytest.mark.parametrize("attempts", [2, 4])
def test_what_cannot_be_looked_up_is_in_doubt(
    both: Both, ask: Callable[[Any], Any], status: str, attempts: int
) -> None:
    world = World(in_turn(httpx.ReadError("gone"), ended(), httpx.ConnectError("refused")))
    with pytest.raises(Unreachable) as unknown:
        both.ask(world, ask, attempts=attempts)

    assert unknown.value.is_in_doubt
    assert len(world.asked) == attempts


def test_a_deletion_of_nothing_is_refused(both: Both) -> None:
    with pytest.raises(NotFound):
        both.ask(World(in_turn(problem(404))), lambda c: c.hooks.delete("h"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 501])
def test_what_would_be_refused_again_is_asked_once(both: Both, status: int) -> None:
    world = World(in_turn(problem(status)))
    with pytest.raises(Exception, match="user_id: not now"):
        both.ask(world, send)

    assert len(world.asked) == 1


def test_the_problem_is_carried_whole(both: Both) -> None:
    with pytest.raises(TooMany) as refused:
        both.ask(World(in_turn(problem(429, Retry_After="7"))), send, attempts=1)

    found = refused.value
    assert (found.status, found.type, found.title, found.detail, found.field) == (
        429,
        "about:blank",
        "No",
        "not now",
        "user_id",
    )
    assert found.retry_after_s == 7.0
    assert found.document["status"] == 429


def test_retry_after_is_waited_for(both: Both) -> None:
    world = World(in_turn(problem(503, Retry_After="7"), httpx.Response(202, json=ACCEPTED)))
    both.ask(world, send)

    assert world.waited == [7.0]


def test_retry_after_is_capped(both: Both) -> None:
    world = World(in_turn(problem(429, Retry_After="99999999"), httpx.Response(202, json=ACCEPTED)))
    both.ask(world, send, retry_after_most_s=5.0)

    assert world.waited == [5.0]


def test_a_used_up_rate_is_waited_for(both: Both) -> None:
    standing = {"RateLimit_Limit": "10", "RateLimit_Remaining": "0", "RateLimit_Reset": "3"}
    world = World(in_turn(problem(429, **standing), httpx.Response(202, json=ACCEPTED)))
    both.ask(world, send)

    assert world.waited == [3.0]


def test_the_total_time_is_kept(both: Both) -> None:
    world = World(in_turn(problem(503)))
    with pytest.raises(Unavailable):
        both.ask(world, send, attempts=1000, total_s=20.0)

    assert world.now <= 20.0
    assert len(world.asked) > 3


def test_a_page_of_another_server_is_no_answer(both: Both) -> None:
    with pytest.raises(BadAnswer):
        both.ask(World(in_turn(httpx.Response(200, text="<html>"))), lambda c: c.policy.get())


def test_a_refusal_of_another_server_has_its_status(both: Both) -> None:
    with pytest.raises(Unauthorized, match="is something in between"):
        both.ask(World(in_turn(httpx.Response(401, text="<html>"))), send)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("follow_redirects", [False, True])
def test_a_redirect_is_not_followed(both: Both, status: int, follow_redirects: bool) -> None:
    world = World(in_turn(httpx.Response(status, headers={"Location": "http://elsewhere/"})))
    with pytest.raises(ProblemError, match=str(status)):
        both.ask(world, send, follow_redirects=follow_redirects)

    assert len(world.asked) == 1


@pytest.mark.parametrize("body", [b'{"detail": "\xff"}', b'{"a":' + b"[" * 100_000], ids=["no text", "too deep"])
def test_whatever_a_refusal_holds_it_is_the_clients_own_error(both: Both, body: bytes) -> None:
    with pytest.raises(Unauthorized):
        both.ask(World(in_turn(httpx.Response(401, content=body))), send)


def test_an_upload_may_take_long_but_no_part_of_it(both: Both) -> None:
    world = World(in_turn(httpx.Response(202, json=TAKEN)))
    both.ask(world, lambda client: UPLOADS["rows"](client, True), timeout_s=7.0, total_s=60.0)

    assert set(world.asked[0].extensions["timeout"].values()) == {7.0}


def test_a_campaign_that_is_no_upload_has_as_long_as_any_call(both: Both) -> None:
    world = World(in_turn(problem(503)))
    with pytest.raises(Unavailable):
        both.ask(world, lambda client: client.campaigns.create(user_ids=["ann"], **SAID), attempts=1000, total_s=20.0)

    assert world.now <= 20.0


def test_members_that_are_not_known_are_passed_over(both: Both) -> None:
    grown = {**ACCEPTED, "status": "a status of later", "new": [1]}

    assert both.ask(World(in_turn(httpx.Response(202, json=grown))), send).status == "a status of later"


def test_the_key_is_asked_for_at_each_attempt() -> None:
    keys: Iterator[str] = iter(["old", "new"])
    world = World(in_turn(problem(503), httpx.Response(202, json=ACCEPTED)))
    with httpx.Client(transport=httpx.MockTransport(world.answer)) as http:
        send(Tocsin("http://gateway", lambda: next(keys), http=http, sleep=world.sleep))

    assert [request.headers["Authorization"] for request in world.asked] == ["Bearer old", "Bearer new"]


def _no_key() -> str:
    raise httpx.ConnectError("the vault is away")


@pytest.mark.parametrize("key", [_no_key, lambda: "a\nb"])
def test_a_key_that_cannot_be_had_is_no_lost_answer(both: Both, key: Callable[[], str]) -> None:
    world = World(in_turn(httpx.Response(202, json=ACCEPTED)))
    with pytest.raises((httpx.ConnectError, ValueError), match=r"vault|key is an API key"):
        both.ask(world, send, key=key)

    assert world.asked == []
    assert world.waited == []


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "schlüssel"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key is an API key") as refused:
        Tocsin("http://gateway", key)

    assert not key or key not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "gateway", "ftp://gateway", "http://", "http://a:b@gateway", "http://gateway/?a=b"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Tocsin(url, "key")


def test_a_client_does_not_show_its_key() -> None:
    assert "secret" not in repr(Tocsin("http://gateway", "id.secret"))


@pytest.mark.parametrize("user_id", ["a/b", "..", ".", "ä ö", "a?b#c", "%2F", "{device_id}"])
def test_an_id_is_one_segment_of_the_path(both: Both, user_id: str) -> None:
    world = World(in_turn(httpx.Response(200, json={})))
    both.ask(world, lambda c: c.users.profile(user_id))

    raw = world.asked[0].url.raw_path.decode()
    assert raw.startswith("/v1/users/")
    assert raw.endswith("/profile")
    assert raw.count("/") == 4
    assert "?" not in raw


# --- the decision ---

HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]),
    st.one_of(st.integers(-5, 10**12).map(str), st.text(max_size=20), st.just(format_datetime(NOW))),
)


@given(
    st.integers(1, 30),
    st.floats(0, 100),
    st.integers(100, 599),
    HEADERS,
    st.booleans(),
    st.floats(0, 1),
)
def test_a_pause_lies_within_what_is_left(
    attempts: int, left: float, status: int, headers: dict[str, str], idempotent: bool, chance: float
) -> None:
    policy = Retrying(attempts=20, pause_s=backoff(chance=lambda: chance))
    pause = pause_after_answer(policy, attempts, left, status, headers, is_idempotent=idempotent, now=NOW)

    if pause is None:
        return
    assert 0 <= pause < left
    assert attempts < policy.attempts
    assert pause <= max(policy.retry_after_most_s, 10.0)
    assert status == 429 or (idempotent and status in (408, 502, 503, 504))


@given(HEADERS)
def test_no_header_asks_for_less_than_nothing(headers: dict[str, str]) -> None:
    asked = retry_after_s(headers, NOW)

    assert asked is None or asked >= 0


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(NOW + timedelta(seconds=9), usegmt=True)

    assert retry_after_s({"retry-after": later}, NOW) == 9.0


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_backoff_is_at_least_half_of_what_it_may_be(attempts: int, chance: float) -> None:
    longest = min(10.0, 0.2 * 2 ** min(attempts - 1, 30))

    assert longest / 2 <= backoff(chance=lambda: chance)(attempts) <= longest


@given(st.lists(st.sampled_from(["lost", "refused", 202, 404, 429, 500, 503]), min_size=1, max_size=12), st.booleans())
def test_whatever_comes_back_the_attempts_end(came: list[Any], idempotent: bool) -> None:
    now = [0.0]
    policy = Retrying(attempts=5, total_s=10.0)
    call = Call("POST", "/", bytes.decode, is_idempotent=idempotent)
    attempts = Attempts(call, policy, lambda: now[0])
    begun = 0
    for each in [*came, *[503] * 10]:
        assert 0 < attempts.begin() <= 10.0
        begun += 1
        match each:
            case "lost":
                pause = attempts.failed(httpx.ReadError("gone"))
            case "refused":
                pause = attempts.failed(httpx.ConnectError("refused"))
            case _:
                pause = attempts.answered(Answer(each, {}, b"{}"))
        if pause is None:
            break
        now[0] += pause
    assert begun <= 5
    assert now[0] <= 10.0


def test_only_what_is_named_here_is_not_asked_for_twice() -> None:
    from tests.unit.clients.test_coverage import call_of

    once = {name for name, sample in samples().items() if not call_of(*name, sample).is_idempotent}

    assert once == {
        ("users", "send_code"),
        ("users", "verify"),
        ("users", "report"),
        ("users", "erase"),
        ("templates", "create"),
        ("templates", "put"),
        ("templates", "rollback"),
        ("policy", "put"),
        ("hooks", "create"),
        ("hooks", "replay"),
        ("keys", "create"),
        ("keys", "rotate"),
        ("replays", "begin"),
    }
