"""What comes in: everything three times, records that can't be taken, and an operator who sets offsets back."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from faults.record import unix_ms
from faults.scene import LONG, SHORT, Experiment, Scene

_BACK = 150
_EMPTY_S = 180.0


async def _until_all_is_asked(scene: Scene) -> None:
    await scene.more(1.0)


# --- poison ---


def _poisons(user: str, number: int) -> list[tuple[str, bytes | None, bytes]]:
    """(topic, key, value) of records that must become dead letters, each for a reason of its own."""
    good: dict[str, Any] = {"user_id": user, "event_type": "order.shipped", "source": user, "content": {"body": "x"}}
    key, named = user.encode(), {"idempotency_key": f"poison-{number}"}

    def request(**fields: Any) -> bytes:
        return json.dumps({**good, **named, **fields}).encode()

    events = [
        (key, b"{"),
        (key, b"\xff\xfe\x00"),
        (key, b'{"user_id": "' + b"\xc3\x28" + b'"}'),
        (key, request(user_id=f"{user}\0")),
        (f"{user}-other".encode(), request()),
        (None, request()),
        (key, request(event_type="not a type!")),
        (key, request(data={"blob": "x" * 3_000_000})),
        (key, request(content=None)),
        (key, request(channels=["pigeon"])),
        (key, request(send_at="soon")),
        (key, b"[]"),
        (key, b'{"user_id":' * 2_000),
    ]
    command = {"type": "profile.set", "user_id": user, "id": f"poison-{user}-{number}", "at": "yesterday"}
    return [
        *(("notify_events", k, v) for k, v in events),
        ("notify_events_critical", key, b"nonsense"),
        ("notify_events_bulk", key, b""),
        ("notify_commands", key, json.dumps(command).encode()),
        ("notify_commands", key, b'{"type": "no.such"}'),
        ("notify_receipts", key, b"\x00\x01"),
        *((f"notify_send_{channel}", key, b'{"send_id": 7}') for channel in ("push", "email", "sms", "in_app")),
    ]


async def _poison(scene: Scene) -> None:
    places: list[tuple[str, int, int]] = []
    for number in range(2 if scene.short else 8):
        await scene.more(0.1)
        user = scene.random.choice(scene.load.users)
        for topic, key, value in _poisons(user, number):
            at = await scene.load.produce_raw(topic, key, value)
            places.append((topic, at.partition, at.offset))
    scene.extra["poisons"] = places


async def _each_is_a_dead_letter(scene: Scene) -> None:
    expected = {tuple(place) for place in scene.extra.pop("poisons")}
    await scene.system.until(lambda: expected <= _letters(scene), 30.0)
    missing = sorted(expected - _letters(scene))
    scene.extra["poisons"] = len(expected)
    scene.extra["no_dead_letter"] = [list(place) for place in missing[:10]]
    scene.found("DEAD", "poisonous records without a dead letter that names them", len(missing))
    nameless = sum(not letter["reason"] for letter in scene.observer.dead)
    scene.found("REASON", "dead letters without a reason", nameless)


def _letters(scene: Scene) -> set[tuple[str, int, int]]:
    return {(letter["topic"], letter["partition"], letter["offset"]) for letter in scene.observer.dead}


# --- offsets set back ---


async def _rewind(scene: Scene) -> None:
    await scene.more(0.4)
    roles = [scene.random.choice(("router", "push", "sms"))] if scene.short else ["router", "push", "email", "in_app"]
    await asyncio.gather(*(scene.system.stop(role) for role in roles))
    try:
        for role in roles:
            group = f"tocsin_{role}"
            await _until_empty(scene, group)
            moved = await _set_back(scene, group)
            scene.record.inject("offsets_rewound", role=role, instance=1, note=f"{moved} records back")
            scene.extra[f"rewound_{role}"] = moved
    finally:
        for role in roles:
            scene.system.start(role)
    await scene.system.ready(roles)


async def _until_empty(scene: Scene, group: str) -> None:
    """Static members leave the group only when their session is over; until then nobody else may commit."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.system.dev.state.kafka_bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(_EMPTY_S):
            while _state_of(await admin.describe_consumer_groups([group])) not in ("Empty", "Dead"):
                await asyncio.sleep(0.5)  # Kafka tells nobody
    finally:
        await admin.close()


def _state_of(described: Any) -> str:
    return str(described[0].groups[0][2])


async def _set_back(scene: Scene, group: str) -> int:
    """Every position of the group a piece back, as an operator's tool does it. Returns how many records in all."""
    bootstrap, moved = scene.system.dev.state.kafka_bootstrap, 0
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        committed = {part: at.offset for part, at in (await admin.list_consumer_group_offsets(group)).items()}
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    parts = [part for part, offset in committed.items() if offset > 0]
    consumer.assign(parts)
    await consumer.start()
    try:
        back: dict[TopicPartition, int] = {}
        for part in parts:
            back[part] = max(0, committed[part] - scene.random.randint(1, _BACK))
            moved += committed[part] - back[part]
        await consumer.commit(back)
    except KafkaError as error:
        raise RuntimeError(f"{group}: offsets can't be set back: {error!r}") from error
    finally:
        await consumer.stop()
    for part, offset in back.items():
        scene.record.offset(group, part.topic, part.partition, offset, rewound=True)
    scene.extra["rewound_at_ms"] = unix_ms()
    return moved


EXPERIMENTS = (
    Experiment(
        "thrice",
        "Every request is made three times with one key, by Kafka and by HTTP.",
        _until_all_is_asked,
        load=replace(LONG, times=3),
        short_load=replace(SHORT, times=3),
    ),
    Experiment(
        "poison",
        "Between good records lie some that can't be taken: not JSON, not UTF-8, 3 MB, NUL, a wrong key, no such type.",
        _poison,
        after=_each_is_a_dead_letter,
    ),
    Experiment("rewound", "An operator sets the offsets of stopped roles back, up to 150 records a topic.", _rewind),
)
