-- What sends came to, by the hour of their end (2100: none yet, though something came back). A row is written anew
-- whenever something of its recipient came; where the end has moved to another hour, the former row is no longer live.
CREATE TABLE IF NOT EXISTS notify.settled_sends
(
    hour             DateTime('UTC') CODEC(Delta, ZSTD(1)),
    campaign_id      LowCardinality(Nullable(String)),
    recipient        UInt64 CODEC(Delta, LZ4),
    row              UInt64 COMMENT 'a hash of what names the send',
    has_send         Bool,
    channel          LowCardinality(Nullable(String)),
    provider         LowCardinality(Nullable(String)),
    category         LowCardinality(Nullable(String)),
    priority         LowCardinality(Nullable(String)),
    template_id      LowCardinality(Nullable(String)),
    template_version Nullable(UInt32),
    variant          LowCardinality(Nullable(String)),
    status           LowCardinality(String),
    policy_version   UInt32,
    accepted_at      Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    due_from         Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ended_at         Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    delivered_at     Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    opened           Bool,
    clicked          Bool,
    bounced          Bool,
    complained       Bool,
    unsubscribed     Bool,
    live             Bool,
    version          UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, campaign_id, recipient, row)
SETTINGS ttl_only_drop_parts = 1, allow_nullable_key = 1
