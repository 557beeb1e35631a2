-- How many were reached on each day, for ever. Of a day, the rows of the version in ``computed`` count.
CREATE TABLE IF NOT EXISTS notify.reach_counts
(
    day           Date,
    category      LowCardinality(Nullable(String)),
    channel       LowCardinality(Nullable(String)),
    users         UInt64,
    notifications UInt64,
    opted_out     UInt64,
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(day)
ORDER BY (day, category, channel)
SETTINGS allow_nullable_key = 1
