-- How many events of each kind happened in each hour, for ever. Of an hour, the rows of the version in ``computed`` count.
CREATE TABLE IF NOT EXISTS notify.delivery_counts
(
    hour        DateTime('UTC'),
    channel     LowCardinality(Nullable(String)),
    provider    LowCardinality(Nullable(String)),
    category    LowCardinality(Nullable(String)),
    event_type  LowCardinality(Nullable(String)),
    source      LowCardinality(Nullable(String)),
    campaign_id LowCardinality(Nullable(String)),
    status      LowCardinality(String),
    reason      LowCardinality(Nullable(String)),
    cap         LowCardinality(Nullable(String)),
    count       UInt64,
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, channel, provider, category, event_type, source, campaign_id, status, reason, cap)
SETTINGS allow_nullable_key = 1
