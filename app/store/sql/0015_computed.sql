-- Which version of an hour's or a day's counts is the present one. ``sealed``: hours before it are never computed anew.
CREATE TABLE IF NOT EXISTS notify.computed
(
    what    Enum8('hour' = 1, 'day' = 2, 'sealed' = 3, 'sealed_sends' = 4),
    at      DateTime('UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (what, at)
