-- What ``delivery_counts`` is counted from: each event of an hour once, by the hash of its id.
CREATE TABLE IF NOT EXISTS notify.hour_events
(
    hour        DateTime('UTC') CODEC(Delta, ZSTD(1)),
    kind        UInt64 COMMENT 'a hash of the columns below but reason and cap: equal ones lie together' CODEC(ZSTD(1)),
    event       UInt64,
    channel     LowCardinality(Nullable(String)),
    provider    LowCardinality(Nullable(String)),
    category    LowCardinality(Nullable(String)),
    event_type  LowCardinality(Nullable(String)),
    source      LowCardinality(Nullable(String)),
    campaign_id LowCardinality(Nullable(String)),
    status      LowCardinality(String),
    reason      LowCardinality(Nullable(String)),
    cap         LowCardinality(Nullable(String))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, kind, event)
SETTINGS ttl_only_drop_parts = 1
