-- Who was reached on each day, each once, by the hash of their id: what ``reach_counts`` is counted from.
CREATE TABLE IF NOT EXISTS notify.reached
(
    day      Date,
    what     Enum8('user' = 1, 'notification' = 2, 'opted_out' = 3),
    category LowCardinality(Nullable(String)),
    channel  LowCardinality(Nullable(String)),
    who      UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, category, channel, what, who)
SETTINGS ttl_only_drop_parts = 1, allow_nullable_key = 1
