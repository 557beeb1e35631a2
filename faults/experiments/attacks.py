"""One tenant attacks, another one goes on: a flood by one key, slow connections, hanging queries, poisonous providers.

The other tenant's critical messages must be taken at the door at once, and arrive about as fast as in the calm before.
"""

import asyncio
import io
import json
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from faults.load import Shape
from faults.poison import POISONS, Poison
from faults.record import unix_ms
from faults.scene import Experiment, Scene
from faults.slow_connections import slow_connections
from faults.system import in_flight

#: Of critical messages, a second.
_RATE = 5.0
#: p99 may be so many times the calm one; and on a busy machine so much is no attack's doing.
_TIMES, _LEAST_MS = 5, 5_000
#: In the short form one message that waited for the machine is the p99; without fair shares it would be minutes.
_LEAST_SHORT_MS = 60_000
_NEVER_MS = 10**9
#: What a read of the history may take beside queries that hang; in the short form it has to be answered.
_READ_S, _READ_SHORT_S = 20.0, 120.0
#: In the short form an attack goes on until it has met its limit, for so long at most.
_MET_S = 120.0

Attack = Callable[[Scene], Awaitable[None]]


@dataclass(slots=True)
class Phase:
    """What the other tenant met while one attack went on."""

    name: str
    #: When each critical request was begun (Unix ms), by notification.
    begun: dict[str, int] = field(default_factory=dict)
    #: Answers that weren't a 202, and calls without an answer.
    refused: list[str] = field(default_factory=list)
    #: Reads of the history that failed or took too long.
    unread: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """What the scene's attacks met, by attack and answer: one that meets no limit attacks nothing."""

    phases: list[Phase] = field(default_factory=list)
    met: dict[str, Counter[str]] = field(default_factory=dict)
    #: Processes that ended while the attacks went on.
    ended: list[str] = field(default_factory=list)

    def count(self, attack: str, what: object) -> None:
        self.met.setdefault(attack, Counter())[str(what)] += 1


def _seen(scene: Scene) -> Seen:
    seen: Seen = scene.extra.setdefault("attacks", Seen())
    return seen


async def _attacks(scene: Scene) -> None:
    await scene.more(0.1)
    await scene.system.heal_provider()  # what fails by chance is waited for, which no attack has done
    users = [await _an_own_user(scene) for _ in range(10)]
    key = await scene.system.add_key("flooder", ("send",))
    seconds = 8.0 if scene.short else 40.0
    await _phase(scene, "calm", users, seconds, [])
    attacks: dict[str, Attack] = {
        "flood": _Flood(key, 15 if scene.short else 60).go_on,
        "slowloris": _slow_connections,
        "queries": _hanging_queries,
        "poison": _poisonous_providers,
    }
    async with _a_small_gateway(scene):
        began = len(scene.record.injected)
        for name, attack in attacks.items():
            await _phase(scene, name, users, seconds, [attack])
        await _phase(scene, "all at once", users, seconds, attacks.values())
        meanwhile = scene.record.injected[began:]
        _seen(scene).ended = [each["role"] for each in meanwhile if each["fault"] == "process_ended"]


async def _phase(scene: Scene, name: str, users: list[str], seconds: float, attacks: Iterable[Attack]) -> None:
    scene.say(name)
    phase = Phase(name)
    _seen(scene).phases.append(phase)
    attacking = [asyncio.ensure_future(attack(scene)) for attack in attacks]
    began_ms = unix_ms()
    try:
        await _go_on(scene, phase, users, seconds)
        if scene.short:  # (in the long form each has met its limit long ago)
            await scene.system.until(lambda: name not in _LIMITS or _met_its_limit(_seen(scene), name), _MET_S)
        for each in attacking:
            if each.done():
                each.result()  # an attack that has ended has failed
    finally:
        for each in attacking:
            each.cancel()
        await asyncio.gather(*attacking, return_exceptions=True)
    if attacking:
        scene.record.inject(name.replace(" ", "_"), at_ms=began_ms, until_ms=unix_ms())


# --- the other tenant ---


async def _an_own_user(scene: Scene) -> str:
    """One with an address on every channel, who has opted out of nothing."""
    user = await scene.load.newcomer()
    profile = {"email": f"{user}@example.com", "email_verified": True}
    device = {"device_id": f"own-{user}", "platform": "ios", "token": scene.random.randbytes(32).hex()}
    await scene.load.command("profile.set", user, profile)
    await scene.load.command("device.add", user, device)
    await scene.load.command("preferences.set", user, {"preferences": {}})
    return user


async def _go_on(scene: Scene, phase: Phase, users: list[str], seconds: float) -> None:
    """Critical messages at their times, by HTTP and Kafka in turn, and reads of what became of the last one."""
    asking: set[asyncio.Task[None]] = set()
    reading = asyncio.create_task(_read_history(scene, phase))
    begun = time.monotonic()
    try:
        for number in range(round(seconds * _RATE)):
            await asyncio.sleep(max(0.0, begun + number / _RATE - time.monotonic()))
            asking.add(asyncio.create_task(_ask(scene, phase, users[number % len(users)], by_http=number % 2 == 0)))
        await asyncio.gather(*asking)
    finally:
        for each in (reading, *asking):
            each.cancel()
        await asyncio.gather(reading, *asking, return_exceptions=True)


async def _ask(scene: Scene, phase: Phase, user: str, *, by_http: bool) -> None:
    began_ms = unix_ms()
    fields: dict[str, Any] = {"priority": "critical", "channels": ["push", "email"]}
    if by_http:
        name = await scene.load.ask_by_http(user, phase.refused.append, **fields)
    else:
        name = await scene.load.ask(user, **fields)
    phase.begun[name] = began_ms


async def _read_history(scene: Scene, phase: Phase) -> None:
    """Once a second, of what was asked for a while ago."""
    state = scene.system.dev.state
    headers = {"Authorization": f"Bearer {state.api_keys['demo']}"}
    async with aiohttp.ClientSession(state.gateway_url, headers=headers) as http:
        while True:
            await asyncio.sleep(1.0)
            ours = [line["notification_id"] for line in scene.record.accepted[:50] if line["via"] == "http"]
            for name in ours[:1]:
                if (why := await _why_unread(http, f"/v1/notifications/{name}", _longest_read_s(scene))) is not None:
                    phase.unread.append(why)


def _longest_read_s(scene: Scene) -> float:
    return _READ_SHORT_S if scene.short else _READ_S


async def _why_unread(http: aiohttp.ClientSession, path: str, longest_s: float) -> str | None:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(2 * longest_s), http.get(path) as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__
    took_s = time.monotonic() - begun
    return None if answer.status == 200 and took_s <= longest_s else f"{answer.status} after {took_s:.1f} s"


# --- a flood by one key ---


class _Flood:
    """Bulk notifications as large as they may be, bodies as large as nobody takes, keys that are wrong."""

    _AT_ONCE = 48

    def __init__(self, key: str, most: int) -> None:
        """``most``: so many of a thousand recipients are to be taken, then none is valid: the log must be read to its
        end."""
        self._key = key
        self._left = most
        self._taken = _thousand([f"flooded-{number}" for number in range(1_000)])
        self._refused = _thousand([""] * 1_000)

    async def go_on(self, scene: Scene) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        url = scene.system.dev.state.gateway_url
        async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
            await asyncio.gather(*(self._one(scene, http, number) for number in range(self._AT_ONCE)))

    async def _one(self, scene: Scene, http: aiohttp.ClientSession, number: int) -> None:
        good = {"Authorization": f"Bearer {self._key}"}
        while True:
            match number % 4:
                case 0 if scene.random.random() < 0.03:
                    await self._post(scene, http, _TOO_LARGE, good, "/v1/notifications/bulk")
                case 1:
                    wrong = {"Authorization": f"Bearer flooder.{scene.random.randbytes(16).hex()}"}
                    await self._post(scene, http, b"{}", wrong)
                case _:
                    await self._post(scene, http, self._taken if self._left > 0 else self._refused, good)
            await asyncio.sleep(0.01)

    async def _post(
        self,
        scene: Scene,
        http: aiohttp.ClientSession,
        body: bytes,
        headers: Mapping[str, str],
        path: str = "/v1/notifications",
    ) -> None:
        try:
            async with http.post(path, data=io.BytesIO(body), headers=headers) as answer:
                await answer.read()
                self._left -= answer.status == 202
                _seen(scene).count("flood", answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _seen(scene).count("flood", type(error).__name__)


_TOO_LARGE = b"[" * (20 << 20)


def _thousand(users: list[str]) -> bytes:
    body = {"user_ids": users, "event_type": "flood", "channels": ["in_app"], "priority": "low"}
    return json.dumps({**body, "content": {"title": "Flood", "body": "x" * 500}}).encode()


# --- slow connections ---

#: With so little room a few hundred connections are many.
_UNKNOWN, _PER_ADDRESS, _FILES = 200, 50, 500
_SLOW, _BACK_S = 500, 5.0


@asynccontextmanager
async def _a_small_gateway(scene: Scene) -> AsyncIterator[None]:
    """A gateway with room for few connections, and few files: without its limits it would run out of them."""
    room = {
        "TOCSIN_GATEWAY__CONNECTIONS": str(_UNKNOWN),
        "TOCSIN_GATEWAY__CONNECTIONS_PER_ADDRESS": str(_PER_ADDRESS),
    }
    await scene.system.restart(["gateway"], room)
    pid = scene.system.dev.processes["gateway"].pid
    assert pid is not None
    files = len(os.listdir(f"/proc/{pid}/fd")) + _FILES
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    try:
        yield
    finally:
        await scene.system.restart(["gateway"])


async def _slow_connections(scene: Scene) -> None:
    """Headers that never end, and nothing at all. Those that are closed come back."""
    async with slow_connections(scene.system.dev.state.gateway_url, _SLOW, _BACK_S) as counts:
        async for _, closed in counts:
            if closed:
                _seen(scene).count("slowloris", "closed by the gateway")


# --- hanging queries ---

_ENDLESS = (
    "SELECT count() FROM lifecycle AS a CROSS JOIN lifecycle AS b CROSS JOIN lifecycle AS c CROSS JOIN lifecycle AS d",
    "SELECT a.user_id, count() FROM lifecycle AS a CROSS JOIN lifecycle AS b CROSS JOIN lifecycle AS c GROUP BY 1",
    "SELECT sum(cityHash64(a.event_id, b.event_id, c.event_id)) FROM lifecycle a, lifecycle b, lifecycle c",
    "SELECT arraySort(groupArray(concat(a.event_id, b.event_id))) FROM lifecycle AS a CROSS JOIN lifecycle AS b",
)


async def _hanging_queries(scene: Scene) -> None:
    state = scene.system.dev.state
    headers = {"Authorization": f"Bearer {state.api_keys['admin']}"}

    async def ask(number: int) -> None:
        while True:
            try:
                async with http.get("/v1/query", params={"sql": _ENDLESS[number % len(_ENDLESS)]}) as answer:
                    _seen(scene).count("queries", (await answer.json()).get("detail", answer.status))
            except (aiohttp.ClientError, TimeoutError) as error:
                _seen(scene).count("queries", type(error).__name__)
            await asyncio.sleep(0.1)

    async with aiohttp.ClientSession(state.gateway_url, headers=headers) as http:
        await asyncio.gather(*(ask(number) for number in range(12)))


# --- poisonous providers ---


async def _poisonous_providers(scene: Scene) -> None:
    """Each of the attacker's users has one poison, which every provider answers for every address of this user."""
    began_ms = unix_ms()
    users = [(f"poisoned-{began_ms}-{number}", poison) for number, poison in enumerate(POISONS)]
    rules: list[str] = []
    try:
        made = await asyncio.gather(*(_poison(scene, user, poison, n) for n, (user, poison) in enumerate(users)))
        rules += [rule for each in made for rule in each]
        while True:
            await asyncio.gather(*(_ask_in_vain(scene, user) for user, _ in users))
            _seen(scene).count("poison", "rounds")
            await asyncio.sleep(2.0)
    finally:
        for rule in rules:
            await scene.system.heal_provider(rule)
        # A connection that an answer breaks takes those beside it along.
        for role in ("push", "email", "sms"):
            scene.record.inject("poison", role=role, in_flight=in_flight(role), at_ms=began_ms, until_ms=unix_ms())


async def _poison(scene: Scene, user: str, poison: Poison, number: int) -> list[str]:
    addresses = {
        "apns": scene.random.randbytes(32).hex(),
        "fcm": f"fcm-{scene.random.randbytes(16).hex()}",
        "ses": f"{user}@example.com",
        "twilio": f"+1918{scene.random.randrange(10_000_000):07d}",
    }
    profile = {"email": addresses["ses"], "email_verified": True, "phone": addresses["twilio"], "phone_verified": True}
    commands: list[tuple[str, dict[str, Any]]] = [("profile.set", profile)]
    for provider, platform in (("apns", "ios"), ("fcm", "android")):
        device = {"device_id": platform, "platform": platform, "token": addresses[provider]}
        commands.append(("device.add", device))
    for position, (kind, fields) in enumerate(commands):
        command = {"type": kind, "user_id": user, "id": f"{user}-{number}-{position}", "at": _now(), **fields}
        await scene.load.produce_raw("notify_commands", user.encode(), json.dumps(command).encode())
    speed = {} if poison.bytes_per_s is None else {"bytes_per_s": poison.bytes_per_s}
    return [
        await scene.system.break_provider(
            provider=provider, address=address, action="answer", answer=poison.answer, **speed
        )
        for provider, address in addresses.items()
        if poison.is_for(provider)
    ]


async def _ask_in_vain(scene: Scene, user: str) -> None:
    """A critical message that can't be delivered."""
    request = {
        "user_id": user,
        "event_type": "account.changed",
        "source": "poisoner",
        "priority": "critical",
        "channels": ["push", "email", "sms"],
        "content": {"title": "Poison", "body": "Of an attack."},
    }
    await scene.load.produce_raw("notify_events_critical", user.encode(), json.dumps(request).encode())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- the verdict ---


async def _judge(scene: Scene) -> None:
    seen: Seen = scene.extra.pop("attacks")
    arrived = _arrivals(scene)
    waited = {
        phase.name: _p99([arrived.get(name, _NEVER_MS) - began for name, began in phase.begun.items()])
        for phase in seen.phases
    }
    bound = max(_LEAST_SHORT_MS if scene.short else _LEAST_MS, _TIMES * waited["calm"])
    scene.extra["critical_p99_ms"] = waited
    scene.extra["met"] = {attack: dict(answers) for attack, answers in seen.met.items()}
    for phase in seen.phases[1:]:
        name = phase.name.upper().replace(" ", "_")
        means = f"ms until the other tenant's critical messages arrived beside it (p99); calm: {waited['calm']} ms"
        scene.found(name, means, waited[phase.name], bound)
    refused = [f"{phase.name}: {why}" for phase in seen.phases for why in phase.refused]
    unread = [f"{phase.name}: {why}" for phase in seen.phases for why in phase.unread]
    scene.extra["ended"] = seen.ended
    scene.extra["refused"], scene.extra["unread"] = refused[:10], unread[:10]
    # On a busy machine a call may get no answer in time; without shares and room most would be refused.
    most = sum(len(phase.begun) for phase in seen.phases) // 40 if scene.short else 0
    scene.found("REFUSED", "critical requests of the other tenant that weren't taken at once", len(refused), most)
    means = f"reads of the history that failed, or took more than {_longest_read_s(scene):g} s"
    scene.found("UNREAD", means, len(unread))
    scene.found("ENDED", "processes that an attack ended", len(seen.ended))
    idle = [name for name in _LIMITS if not _met_its_limit(seen, name)]
    scene.extra["idle"] = idle
    scene.found("IDLE", "attacks that met no limit, so that they show nothing", len(idle))


#: What each attack must have met at least once to have been one.
_LIMITS = {
    "flood": {"429"},
    "slowloris": {"closed by the gateway"},
    "queries": {"the query took too long", "too many queries are running: try again later"},
    "poison": {"rounds"},
}


def _met_its_limit(seen: Seen, attack: str) -> bool:
    return bool(seen.met.get(attack, Counter()).keys() & _LIMITS[attack])


def _arrivals(scene: Scene) -> dict[str, int]:
    """When each notification had arrived on both its channels (Unix ms)."""
    first: dict[tuple[str, str], int] = {}
    for line in (scene.system.sandbox_folder / "accepted.jsonl").read_bytes().splitlines():
        said = json.loads(line)
        if said["at_ms"] >= scene.record.started_ms and said.get("notification_id") is not None:
            first.setdefault((said["notification_id"], said["provider"]), said["at_ms"])
    names = {name for name, _ in first}
    return {
        name: max(first.get((name, "apns"), 2 * _NEVER_MS), first.get((name, "ses"), 2 * _NEVER_MS)) for name in names
    }


def _p99(values: list[int]) -> int:
    return sorted(values)[int(len(values) * 0.99)] if values else _NEVER_MS


EXPERIMENTS = (
    Experiment(
        "attacks",
        "One tenant floods, holds connections open, asks without end and has poisonous providers; another goes on.",
        _attacks,
        Shape(1_000, 20),
        Shape(100, 15),
        after=_judge,
    ),
)
