-- What calls of providers came to, by the hour in which they began.
CREATE TABLE IF NOT EXISTS notify.settled_calls
(
    hour      DateTime('UTC') CODEC(Delta, ZSTD(1)),
    recipient UInt64 CODEC(Delta, LZ4),
    row       UInt64 COMMENT 'a hash of what names the send',
    began_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    attempt   UInt32,
    provider  LowCardinality(Nullable(String)),
    answer    LowCardinality(String) COMMENT 'accepted, refused, throttled, or empty',
    in_doubt  Bool,
    settled   LowCardinality(String) COMMENT 'what became of the doubt: sent, unknown, or empty',
    ms        Nullable(Int64),
    version   UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, recipient, row, began_at, attempt, provider)
SETTINGS ttl_only_drop_parts = 1, allow_nullable_key = 1
