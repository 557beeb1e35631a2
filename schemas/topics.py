"""The names of every topic and the lanes a record may travel on."""

from schemas.words import CHANNELS, Channel, Lane

EVENTS_CRITICAL = "notify_events_critical"
EVENTS = "notify_events"
EVENTS_BULK = "notify_events_bulk"
EVENT_TOPICS: tuple[str, ...] = (EVENTS_CRITICAL, EVENTS, EVENTS_BULK)

COMMANDS = "notify_commands"
RECEIPTS = "notify_receipts"
LIFECYCLE = "notify_lifecycle"
DEAD = "notify_dead"
CONFIG = "notify_config"

#: Who was erased, by a hash of the user id, and until when: what remains to remember an erasure (ours, compacted).
ERASURES = "tocsin_erasures"

#: Our own: nobody else may write there. How sends ended, from the channels' roles to the router; and what the router
#: learnt of tokens and addresses, to every role that keeps them.
RESULTS = "tocsin_results"
BROADCASTS = "tocsin_broadcasts"
#: What the gateway asks a user's router for: a code to an address, and whether a code is right (ours, too).
VERIFICATIONS = "tocsin_verifications"
#: Candidates of a replay, from the job that runs it to their routers, and what these make of each (ours, too).
REPLAY_REQUESTS = "tocsin_replay_requests"
REPLAY_OUTCOMES = "tocsin_replay_outcomes"
#: The replays that there are, and how far each is (ours, compacted).
REPLAYS = "tocsin_replays"
#: The campaigns that there are, and how far each is; and their recipients (ours, compacted; schemas/campaigns.py).
CAMPAIGNS = "tocsin_campaigns"
CAMPAIGN_RECIPIENTS = "tocsin_campaign_recipients"

#: Who changed what (schemas/audit_log.py; ours, too).
AUDIT_LOG = "tocsin_audit_log"
#: What the router and the inbox drew in each batch, so that an audit can decide it again (ours, too).
BATCHES = "tocsin_batches"
#: What changes in users' inboxes, from the in_app role to every gateway; and which tickets these claim (ours, too).
INBOX_CHANGES = "tocsin_inbox_changes"
#: Which dead letters were put back (schemas/redriven.py; ours, too).
REDRIVEN = "tocsin_redriven"

#: Where each worker says which partitions it owns and on which operations port it answers (ours, compacted).
OWNERS = "tocsin_owners"
#: How workers see their providers, and which of these are paused by hand (ours, compacted).
PROVIDERS = "tocsin_providers"
#: The outbound webhooks that services have set up, and how far each is in each partition of ``notify_lifecycle`` (ours,
#: compacted).
HOOKS = "tocsin_hooks"
HOOK_POSITIONS = "tocsin_hook_positions"
#: The API keys that were made over HTTP, and when keys were used last (schemas/keys.py; ours, compacted).
KEYS = "tocsin_keys"

LANE_OF_EVENT_TOPIC: dict[str, Lane] = {EVENTS_CRITICAL: "critical", EVENTS: "normal", EVENTS_BULK: "bulk"}
EVENT_TOPIC_OF_LANE: dict[Lane, str] = {lane: topic for topic, lane in LANE_OF_EVENT_TOPIC.items()}

_LANE_SUFFIX: dict[Lane, str] = {"critical": "_critical", "normal": "", "bulk": "_bulk"}


def send_topic(channel: Channel, lane: Lane) -> str:
    """The topic that carries sends of a channel on a lane, e.g. ``notify_send_push_critical``."""
    return f"notify_send_{channel}{_LANE_SUFFIX[lane]}"


SEND_TOPICS: dict[Channel, tuple[str, str, str]] = {
    channel: (send_topic(channel, "critical"), send_topic(channel, "normal"), send_topic(channel, "bulk"))
    for channel in CHANNELS
}


#: How many days each topic with a time limit is kept, unless ``kafka.retention`` says otherwise.
KEPT_DAYS: dict[str, int] = {
    **dict.fromkeys(EVENT_TOPICS, 7),
    COMMANDS: 30,
    RECEIPTS: 7,
    **{name: 7 for lanes in SEND_TOPICS.values() for name in lanes},
    LIFECYCLE: 90,
    DEAD: 30,
    RESULTS: 7,
    BROADCASTS: 30,
    VERIFICATIONS: 7,
    REPLAY_REQUESTS: 7,
    REPLAY_OUTCOMES: 90,
    AUDIT_LOG: 400,
    BATCHES: 7,
    REDRIVEN: 30,
    INBOX_CHANGES: 1,
}

#: Those that have one partition, so that everybody can follow them or read them in order.
SINGLE: frozenset[str] = frozenset(
    (CONFIG, OWNERS, PROVIDERS, ERASURES, REPLAYS, CAMPAIGNS, CAMPAIGN_RECIPIENTS, AUDIT_LOG, REDRIVEN, HOOKS, KEYS)
)

#: Those that hold nothing of users: no erasure concerns them.
WITHOUT_USERS: frozenset[str] = frozenset((AUDIT_LOG, BATCHES, REDRIVEN))


def changelog_topic(role: str, table: str) -> str:
    """The compacted topic that holds every row of a role's table."""
    return f"tocsin_{role}-{table}-changelog"


def journal_topic(role: str) -> str:
    """The topic that holds a role's checkpoints before they take effect (docs/decisions/0002-journal.md)."""
    return f"tocsin_{role}-journal"


def is_changelog_or_journal(topic: str) -> bool:
    """Whether the topic holds a role's state."""
    return topic.startswith("tocsin_") and topic.endswith(("-changelog", "-journal"))
