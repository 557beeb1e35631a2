-- How far the states have been made of events that were there before them.
CREATE TABLE IF NOT EXISTS notify.backfilled
(
    step    String,
    done_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY step
