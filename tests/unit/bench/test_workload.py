"""The workload: every rule of the policy is asked, and every request becomes one send by push."""

import time
from dataclasses import replace

import msgspec

from agents.router.machine import RouterMachine
from app.domain.caps import evaluate_caps
from app.domain.out import Out
from app.domain.partition import partition_of
from bench.workload import PLACES, PROVIDERS, Fed, Workload, catalog, request, rows_of_users, user_id
from schemas.lifecycle import read_lifecycle
from schemas.topics import EVENTS, LIFECYCLE, send_topic
from tables.rows import MemoryRows

LOAD = Workload(users=4, events=20, partitions=2, now_ms=time.time_ns() // 1_000_000)


def decide(number: int) -> Out:
    record = request(LOAD, number)
    rows = MemoryRows()
    rows.tables = rows_of_users(LOAD, 0, LOAD.users)[record.partition]
    machine = RouterMachine(catalog(LOAD.now_ms), partitions=LOAD.partitions, providers=PROVIDERS, secret=b"secret")
    out = Out()
    assert record.key is not None
    assert record.value is not None
    fed = Fed(EVENTS, record.partition, number, LOAD.now_ms, record.key, record.value)
    machine.handle(fed, machine.open(rows, record.partition), out, LOAD.now_ms)
    return out


def test_a_request_becomes_one_send_by_push_and_two_events() -> None:
    topics = [record.topic for number in range(LOAD.events) for record in decide(number).records]

    assert sorted(set(topics)) == sorted((LIFECYCLE, send_topic("push", "normal")))
    assert topics.count(LIFECYCLE) == 2 * topics.count(send_topic("push", "normal")) == 2 * LOAD.events


def test_the_trail_has_every_rule_that_the_benchmark_names() -> None:
    queued = [read_lifecycle(r.value) for r in decide(1).records if r.topic == LIFECYCLE and r.value][-1]
    assert queued.status == "queued"
    trail = {entry[0]: tuple(entry[1:]) for entry in msgspec.to_builtins(queued)["detail"]["trail"]}

    assert trail["preference"] == (True, "categories.orders.push")
    assert trail["digest"] == (True, "no_key")
    assert trail["cap"][:2] == (True, "room")
    assert trail["quiet_hours"][:2] == (True, "day")


def test_every_cap_has_its_places_taken() -> None:
    name = user_id(3).encode()
    rows = MemoryRows()
    partition = partition_of(name, LOAD.partitions)
    rows.tables = rows_of_users(LOAD, 0, LOAD.users)[partition]
    policy = catalog(LOAD.now_ms)
    state = RouterMachine(policy, partitions=2, providers=PROVIDERS, secret=b"secret").open(rows, partition)

    windows = state.windows.get(name)

    assert windows is not None
    caps = policy.policy.caps_of("orders", "push")
    assert len(caps) == 3
    for cap in caps:
        over = evaluate_caps([replace(cap, limit=PLACES)], windows.places(), {}, bytes(16), LOAD.now_ms)
        assert over is not None
        assert len(over.used_by) == PLACES


def test_rows_and_requests_are_the_same_in_every_process() -> None:
    assert rows_of_users(LOAD, 0, 4) == rows_of_users(LOAD, 0, 4)
    assert request(LOAD, 7) == request(LOAD, 7)
