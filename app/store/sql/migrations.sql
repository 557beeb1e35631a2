-- Which of the numbered statements were applied.
CREATE TABLE IF NOT EXISTS notify.migrations
(
    name       String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY name
