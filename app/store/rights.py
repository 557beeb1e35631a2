"""Who may do what in Kafka, by least privilege, from the same declarations as the topics; and the commands for it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from schemas import topics

Operation = Literal["Read", "Write", "Describe", "Create", "DescribeConfigs", "AlterConfigs"]
Resource = Literal["topic", "group", "cluster"]

#: What services do.
PRODUCER = "producer"
#: The commands that set up and look into an installation.
CLI = "tocsin-cli"


@dataclass(frozen=True, slots=True)
class Access:
    """The topics that a process reads and writes, and its consumer groups. ``asks``: topics of which it only wants to
    know how long they are, and groups of which it wants to know how far they are."""

    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    groups: Sequence[str] = ()
    asks: Sequence[str] = ()
    asks_groups: Sequence[str] = ()


class Right(NamedTuple):
    """``principal`` without ``User:``. Reading or writing a topic includes describing it."""

    principal: str
    operation: Operation
    resource: Resource
    name: str


#: What services may do: to ask for notifications, and to say what they know of users and of sends.
SERVICES = Access(writes=(*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS))

#: The gateway does for its callers what services do, keeps policy and templates, looks for letters and owners, follows
#: inboxes, and runs replays (of what happened to sends, and of the sends themselves) and campaigns. Its console shows
#: what sends brought, and has ``simulate`` compare a policy.
GATEWAY = Access(
    reads=(
        topics.CONFIG,
        topics.OWNERS,
        topics.PROVIDERS,
        topics.ERASURES,
        topics.DEAD,
        topics.AUDIT_LOG,
        topics.REDRIVEN,
        topics.REPLAYS,
        topics.REPLAY_REQUESTS,
        topics.REPLAY_OUTCOMES,
        topics.CAMPAIGNS,
        topics.CAMPAIGN_RECIPIENTS,
        topics.HOOKS,
        topics.KEYS,
        topics.LIFECYCLE,
        topics.INBOX_CHANGES,
        *topics.EVENT_TOPICS,
        topics.COMMANDS,
        topics.RECEIPTS,
        topics.RESULTS,
        topics.BROADCASTS,
        topics.VERIFICATIONS,
        *(name for lanes in topics.SEND_TOPICS.values() for name in lanes),
    ),
    writes=(
        *SERVICES.writes,
        topics.CONFIG,
        topics.PROVIDERS,
        topics.VERIFICATIONS,
        topics.REPLAYS,
        topics.REPLAY_REQUESTS,
        topics.CAMPAIGNS,
        topics.CAMPAIGN_RECIPIENTS,
        topics.AUDIT_LOG,
        topics.REDRIVEN,
        topics.HOOKS,
        topics.INBOX_CHANGES,
        topics.KEYS,
    ),
    groups=("tocsin_replays", "tocsin_campaigns", "tocsin_router"),
    # How far the roles are.
    asks_groups=(*(f"tocsin_{channel}" for channel in topics.SEND_TOPICS), "tocsin_analytics"),
)

ANALYTICS = Access(
    reads=(topics.LIFECYCLE, topics.ERASURES, topics.CONFIG),
    writes=(topics.DEAD, topics.ERASURES),
    groups=("tocsin_analytics",),
)

#: Reads what happened, calls the hooks, remembers how far each is, and disables those that nobody answers.
HOOK_CALLER = Access(
    reads=(topics.LIFECYCLE, topics.HOOKS, topics.HOOK_POSITIONS, topics.ERASURES),
    writes=(topics.HOOKS, topics.HOOK_POSITIONS, topics.AUDIT_LOG),
    groups=("tocsin_hooks",),
)

#: Follows the configuration, reads what is recorded (``simulate``, ``audit``) and who is announced (``doctor``), asks
#: how far groups have come, and enters in the audit log what it changes in the settings (``keys``).
COMMAND_LINE = Access(
    reads=(
        topics.CONFIG,
        topics.OWNERS,
        topics.PROVIDERS,
        topics.HOOKS,
        *topics.EVENT_TOPICS,
        topics.COMMANDS,
        topics.RECEIPTS,
        topics.RESULTS,
        topics.BROADCASTS,
        topics.VERIFICATIONS,
        topics.REPLAY_REQUESTS,
        topics.LIFECYCLE,
        topics.DEAD,
        topics.BATCHES,
        topics.ERASURES,
        *(name for lanes in topics.SEND_TOPICS.values() for name in lanes),
    ),
    writes=(topics.AUDIT_LOG,),
    groups=("tocsin_router", "tocsin_analytics"),
)


def auditing(access: Access, tables: Mapping[str, Sequence[str]]) -> Access:
    """The same, with every role's changelogs. ``tables``: of each role."""
    changelogs = (topics.changelog_topic(role, table) for role, its in tables.items() for table in its)
    return replace(access, reads=(*access.reads, *changelogs))


def keeping(role: str, tables: Sequence[str], reads: Sequence[str], writes: Sequence[str]) -> Access:
    """A role with tables, whose machine reads and writes these topics."""
    own = (*(topics.changelog_topic(role, table) for table in tables), topics.journal_topic(role))
    return Access(
        reads=(*reads, *own, topics.CONFIG),
        writes=(*writes, *own, topics.DEAD, topics.OWNERS),
        groups=(f"tocsin_{role}",),
    )


def rights(accesses: Mapping[str, Access], declared: Sequence[str]) -> tuple[Right, ...]:
    """Every right, each once. ``accesses``: by principal. ``declared``: the topics that ``topics apply`` makes."""
    found = [right for principal, access in accesses.items() for right in _rights_of(principal, access)]
    return tuple(dict.fromkeys([*found, *_setting_up(declared)]))


def acl_command(right: Right, bootstrap: str) -> str:
    """The command that gives the right."""
    where = ["--cluster"] if right.resource == "cluster" else [f"--{right.resource}", right.name]
    given = ["--allow-principal", f"User:{right.principal}", "--operation", right.operation, *where]
    return shlex.join(["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", *given])


def _rights_of(principal: str, access: Access) -> Iterator[Right]:
    for name in access.reads:
        yield Right(principal, "Read", "topic", name)
    for name in access.writes:
        yield Right(principal, "Write", "topic", name)
    for name in access.groups:
        yield Right(principal, "Read", "group", name)
    for name in access.asks:
        yield Right(principal, "Describe", "topic", name)
    for name in access.asks_groups:
        yield Right(principal, "Describe", "group", name)


def _setting_up(declared: Sequence[str]) -> Iterator[Right]:
    for name in declared:
        for operation in _SETS_UP:
            yield Right(CLI, operation, "topic", name)
    yield Right(CLI, "DescribeConfigs", "cluster", "")  # `doctor` looks at the brokers' log cleaner


_SETS_UP: tuple[Operation, ...] = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")
