-- Frozen: as a version without states had it. It serves while the states are made of the events that were there.
-- What the rules kept back and why, by hour: suppressed, or held.
CREATE OR REPLACE VIEW notify.decisions AS
SELECT
    toStartOfHour(occurred_at) AS hour,
    category,
    event_type,
    channel,
    reason,
    cap,
    count() AS count
FROM notify.lifecycle FINAL
WHERE status IN ('suppressed', 'held')
GROUP BY hour, category, event_type, channel, reason, cap
