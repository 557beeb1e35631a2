-- One row an event. An event that is written again, byte for byte, has the same key and the same partition, so merging
-- drops it; until then views count it once (view_*.sql).
CREATE TABLE IF NOT EXISTS notify.lifecycle
(
    event_id            String CODEC(ZSTD(1)),
    notification_id     String CODEC(ZSTD(1)),
    user_id             String CODEC(ZSTD(1)),
    send_id             Nullable(String) CODEC(ZSTD(1)),
    status              LowCardinality(String),
    reason              LowCardinality(Nullable(String)),
    channel             LowCardinality(Nullable(String)),
    provider            LowCardinality(Nullable(String)),
    attempt             Nullable(UInt32),
    event_type          LowCardinality(Nullable(String)),
    category            LowCardinality(Nullable(String)),
    priority            LowCardinality(Nullable(String)),
    source              LowCardinality(Nullable(String)),
    campaign_id         LowCardinality(Nullable(String)),
    template_id         LowCardinality(Nullable(String)),
    template_version    Nullable(UInt32),
    variant             LowCardinality(Nullable(String)),
    policy_version      Nullable(UInt32),
    provider_message_id Nullable(String) CODEC(ZSTD(1)),
    replay_id           LowCardinality(Nullable(String)),
    occurred_at         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    detail              Nullable(String) COMMENT 'JSON' CODEC(ZSTD(3)),
    recorded_at         DateTime64(3, 'UTC') COMMENT 'the record''s timestamp in Kafka' CODEC(Delta, ZSTD(1)),
    topic_partition     UInt32,
    topic_offset        UInt64 CODEC(Delta, ZSTD(1)),
    -- A shown status never falls back in rank, except into or out of a wait.
    rank                UInt8 MATERIALIZED multiIf(
        status IN ('accepted', 'repeated'), 0,
        status IN ('scheduled', 'held'), 1,
        status = 'queued', 2,
        status IN ('sending', 'in_doubt', 'retrying'), 3,
        status IN ('sent', 'suppressed', 'failed', 'expired', 'cancelled', 'aggregated', 'unknown'), 4,
        5
    ),
    INDEX of_user user_id TYPE bloom_filter GRANULARITY 1,
    INDEX of_send send_id TYPE bloom_filter GRANULARITY 1,
    INDEX of_campaign campaign_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(occurred_at)
ORDER BY (notification_id, user_id, occurred_at, event_id)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000
