"""Who may do what in Kafka: all that a process does, and nothing besides."""

import ast
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from app.campaigns.service import GROUP as CAMPAIGNS_RUN_BY
from app.config import Kafka
from app.replay.service import GROUP as REPLAYING
from app.store.lifecycle_sink import GROUP
from app.store.rights import CLI, PRODUCER, Right, acl_command, rights
from app.store.topics import declare
from app.wiring import DECIDING, KEEPING, SENDING, internal_tables, kafka_accesses
from schemas import topics

DECLARED = [topic.name for topic in declare(Kafka(), internal_tables())]
RIGHTS = rights(kafka_accesses(), DECLARED)
REPOSITORY = Path(__file__).parents[3]

#: What services may write.
OTHERS_WRITE = {*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS}


def of(principal: str, operation: str, resource: str = "topic") -> set[str]:
    return {r.name for r in RIGHTS if (r.principal, r.operation, r.resource) == (principal, operation, resource)}


def writers(topic: str) -> set[str]:
    return {right.principal for right in RIGHTS if (right.operation, right.name) == ("Write", topic)}


def test_every_topic_and_nothing_else_is_named() -> None:
    assert {right.name for right in RIGHTS if right.resource == "topic"} == set(DECLARED)
    assert len(set(RIGHTS)) == len(RIGHTS)


def test_services_write_what_others_may_write_and_nothing_more() -> None:
    assert {right for right in RIGHTS if right.principal == PRODUCER} == {
        Right(PRODUCER, "Write", "topic", name) for name in OTHERS_WRITE
    }


@pytest.mark.parametrize(
    ("topic", "who"),
    [
        (topics.LIFECYCLE, {f"tocsin-{role}" for role in KEEPING}),
        (topics.DEAD, {"tocsin-analytics", *(f"tocsin-{role}" for role in KEEPING)}),
        (topics.CONFIG, {"tocsin-gateway"}),
        (topics.RESULTS, {f"tocsin-{role}" for role in KEEPING if role != "router"}),
        (topics.BROADCASTS, {"tocsin-router"}),
        (topics.OWNERS, {f"tocsin-{role}" for role in KEEPING}),
        (topics.PROVIDERS, {"tocsin-gateway", *(f"tocsin-{role}" for role in SENDING)}),
        (topics.ERASURES, {"tocsin-router", "tocsin-analytics"}),
        (topics.VERIFICATIONS, {"tocsin-gateway"}),
        (topics.AUDIT_LOG, {"tocsin-gateway", "tocsin-hooks", CLI}),
        (topics.HOOKS, {"tocsin-gateway", "tocsin-hooks"}),
        (topics.HOOK_POSITIONS, {"tocsin-hooks"}),
        (topics.KEYS, {"tocsin-gateway"}),
        (topics.BATCHES, {f"tocsin-{role}" for role in DECIDING}),
        (topics.REDRIVEN, {"tocsin-gateway"}),
        (topics.REPLAYS, {"tocsin-gateway"}),
        (topics.CAMPAIGNS, {"tocsin-gateway"}),
        (topics.CAMPAIGN_RECIPIENTS, {"tocsin-gateway"}),
        *((topic, {"tocsin-router"}) for lanes in topics.SEND_TOPICS.values() for topic in lanes),
        *((topic, {PRODUCER, "tocsin-gateway", "tocsin-router"}) for topic in sorted(OTHERS_WRITE)),
    ],
)
def test_each_topic_is_written_by_those_who_may(topic: str, who: set[str]) -> None:
    assert writers(topic) == who


def test_services_read_and_write_none_of_our_own_topics() -> None:
    ours = {name for name in DECLARED if name.startswith("tocsin_")}

    assert {right for right in RIGHTS if right.principal == PRODUCER and right.name in ours} == set()
    assert all(writers(topic) for topic in ours)


def test_a_roles_tables_and_journal_are_its_own() -> None:
    for role, tables in internal_tables().items():
        for topic in (*(topics.changelog_topic(role, table) for table in tables), topics.journal_topic(role)):
            assert {right.principal for right in RIGHTS if right.name == topic} == {f"tocsin-{role}", CLI}


def test_every_role_may_read_and_write_what_its_machine_declares_and_join_its_group() -> None:
    for role in KEEPING:
        access, principal = kafka_accesses()[f"tocsin-{role}"], f"tocsin-{role}"
        assert {topics.COMMANDS, topics.BROADCASTS, topics.CONFIG} <= of(principal, "Read")
        assert of(principal, "Read") == set(access.reads)
        assert of(principal, "Write") == set(access.writes)
        assert of(principal, "Read", "group") == {f"tocsin_{role}"}
    assert of("tocsin-analytics", "Read", "group") == {GROUP}
    assert of("tocsin-gateway", "Read", "group") == {REPLAYING, CAMPAIGNS_RUN_BY, "tocsin_router"}


def test_only_the_commands_change_topics_and_all_they_write_is_the_audit_log() -> None:
    changing = {right.principal for right in RIGHTS if right.operation in ("Create", "AlterConfigs")}

    assert changing == {CLI}
    assert of(CLI, "Write") == {topics.AUDIT_LOG}


def test_each_right_is_one_line_for_a_shell() -> None:
    lines = [acl_command(right, "kafka-1:9092,kafka-2:9092") for right in RIGHTS]

    assert len(set(lines)) == len(lines) == len(RIGHTS)
    for line, right in zip(lines, RIGHTS, strict=True):
        words = shlex.split(line)
        assert words[0] == "kafka-acls.sh"
        assert "--add" in words
        options = dict(pairwise(words))
        assert options["--allow-principal"] == f"User:{right.principal}"
        assert options["--operation"] == right.operation
        assert "--cluster" in words if right.resource == "cluster" else options[f"--{right.resource}"] == right.name


#: The modules that produce to Kafka without a machine, and who runs them.
PRODUCING = {
    "app/domain/out.py": "tocsin-router",
    "app/api/intake.py": "tocsin-gateway",
    "app/api/tracing.py": "tocsin-gateway",
    "app/api/webhooks.py": "tocsin-gateway",
    "app/api/commands.py": "tocsin-gateway",
    "app/api/tickets.py": "tocsin-gateway",
    "app/api/unsubscribe.py": "tocsin-gateway",
    "app/api/reporter.py": "tocsin-gateway",
    "app/api/app_reports.py": "tocsin-gateway",
    "app/api/verification.py": "tocsin-gateway",
    "app/replay/jobs.py": "tocsin-gateway",
    "app/replay/running.py": "tocsin-gateway",
    "app/campaigns/jobs.py": "tocsin-gateway",
    "app/campaigns/recipients.py": "tocsin-gateway",
    "app/campaigns/running.py": "tocsin-gateway",
    "app/campaigns/service.py": "tocsin-gateway",
    "app/store/config_writer.py": "tocsin-gateway",
    "app/store/audit_log.py": "tocsin-gateway",
    "app/store/redriven.py": "tocsin-gateway",
    "app/store/owners.py": "tocsin-router",
    "app/store/provider_states.py": "tocsin-gateway",
    "app/domain/outbox.py": PRODUCER,
    "app/store/hooks.py": "tocsin-gateway",
    "app/store/api_keys.py": "tocsin-gateway",
    "app/store/hook_positions.py": "tocsin-hooks",
    "app/store/redacting.py": "tocsin-analytics",
    "app/streaming/process.py": "tocsin-router",
    "app/streaming/checkpoints.py": "tocsin-router",
}
#: Those that only read, ask or speak of topics; ``app/demo`` plays services and phones.
READING = (
    "app/store/recorded_sends.py",
    *(
        "app/api/console/helping.py",
        "app/api/gateway.py",
        "app/api/tracing.py",
        "app/store/inbox_follower.py",
        "app/audit",
        "app/campaigns/lane.py",
        "app/kafka",
        "app/metrics",
        "app/replay/ledger.py",
        "app/replay/reading.py",
        "app/replay/service.py",
        "app/simulate",
        "app/streaming",
        "app/testing",
        "app/demo",
        "app/wiring",
    ),
    "app/config/sections.py",
    "app/domain/redrive.py",
    "app/api/redriving.py",
    "app/api/dead.py",
    *(
        "app/store/config_follower.py",
        "app/store/dead_letters.py",
        "app/store/erased.py",
        "app/store/lags.py",
        "app/store/rights.py",
        "app/store/topics.py",
    ),
)


def spoken_of(module: Path) -> set[str]:
    """The names of topics that a module imports."""
    return {
        alias.name
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "schemas.topics"
        for alias in node.names
    }


def test_a_module_that_speaks_of_topics_was_looked_at() -> None:
    """Whoever adds a producer has to give it its rights."""
    for path in (REPOSITORY / "app").rglob("*.py"):
        name = path.relative_to(REPOSITORY).as_posix()
        known = name in PRODUCING or any(name == other or name.startswith(f"{other}/") for other in READING)
        assert known or not spoken_of(path), name


@pytest.mark.parametrize(("module", "principal"), PRODUCING.items())
def test_what_is_produced_without_a_machine_may_be(module: str, principal: str) -> None:
    said = (getattr(topics, name) for name in spoken_of(REPOSITORY / module))
    spoken = {topic for topic in said if isinstance(topic, str)}

    assert spoken <= of(principal, "Write") | of(principal, "Read")
